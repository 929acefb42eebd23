#!/bin/sh
# Fail, in PostgreSQL's words, when PostgreSQL would not take up its files. $1 is its version.
"/usr/lib/postgresql/$1/bin/postgres" -D "/etc/postgresql/$1/main" -C config_file >/dev/null
# Only a server can read the other two files. One that does not run refuses them when it starts.
if psql -XAtqc 'SELECT 1' >/dev/null 2>&1; then
  wrong=$(psql -XAtqF ': ' \
    -c "SELECT 'pg_hba.conf', line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL" \
    -c "SELECT 'pg_ident.conf', line_number, error FROM pg_ident_file_mappings WHERE error IS NOT NULL")
  [ -z "$wrong" ] || { echo "$wrong" >&2; exit 1; }
fi
