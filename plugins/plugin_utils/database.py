# SPDX-License-Identifier: MIT
"""Say how the application finds its database, and which Debian packages the database's extensions need.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qs, unquote, urlsplit

from ansible_collections.celery_on_hosts.platform.plugins.plugin_utils.elsewhere import is_postgresql

# extensions of Debian's package `postgresql` itself
CONTRIB = (
    *("amcheck", "autoinc", "bloom", "btree_gin", "btree_gist", "citext", "cube", "dblink", "dict_int", "dict_xsyn"),
    *("earthdistance", "file_fdw", "fuzzystrmatch", "hstore", "insert_username", "intagg", "intarray", "isn", "lo"),
    *("ltree", "moddatetime", "pageinspect", "pg_buffercache", "pg_freespacemap", "pg_prewarm", "pg_stat_statements"),
    *("pg_surgery", "pg_trgm", "pg_visibility", "pg_walinspect", "pgcrypto", "pgrowlocks", "pgstattuple", "plpgsql"),
    *("postgres_fdw", "refint", "seg", "sslinfo", "tablefunc", "tcn", "tsm_system_rows", "tsm_system_time", "unaccent"),
    *("uuid-ossp", "xml2"),
)
# by extension, the end of its Debian package's name, `postgresql-VERSION-…`
PACKAGED = {
    "hll": "hll",
    "hypopg": "hypopg",
    "ip4r": "ip4r",
    "pg_partman": "partman",
    "pgtap": "pgtap",
    "postgis": "postgis-3",
    "postgis_raster": "postgis-3",
    "postgis_tiger_geocoder": "postgis-3",
    "postgis_topology": "postgis-3",
    "prefix": "prefix",
    "rum": "rum",
    "semver": "semver",
    "vector": "pgvector",
}
NOT_IN_DEBIAN_12 = ("vector",)


def extension_packages(extensions: Iterable[str], version: str) -> list[str]:
    """Return the Debian packages of some extensions, sorted.

    Args:
        extensions: names of extensions.
        version: PostgreSQL's major version.
    """
    return sorted({f"postgresql-{version}-{PACKAGED[name]}" for name in extensions if name in PACKAGED})


def client_environment(url: str) -> dict[str, str]:
    """Return the variables by which PostgreSQL's own clients find a database: libpq, psycopg, asyncpg, psql.

    Args:
        url: the database's address; for another database than PostgreSQL there are none.
    """
    if not is_postgresql(url):
        return {}
    found = urlsplit(url)
    mode = parse_qs(found.query).get("sslmode", [""])[0]
    variables = {
        "PGHOST": found.hostname or "",
        "PGPORT": str(found.port or 5432),
        "PGUSER": unquote(found.username or ""),
        "PGPASSWORD": unquote(found.password or ""),
        "PGDATABASE": unquote(found.path.removeprefix("/")),
        "PGSSLMODE": mode,
    }
    return {name: value for name, value in variables.items() if value}
