#!/bin/sh
# Managed by Ansible. Changes here are lost.
# Runs python ARGUMENTS of the deployed release as the celery user, with the application's environment.
# For root, for members of celery-operators and for supervisord's programs.
# shellcheck disable=SC1090,SC1091  # the environments are files of the host
set -eu

case "$(id -un)" in
  celery) ;;
  root) exec setpriv --reuid=celery --regid=celery --init-groups -- env HOME=/var/lib/celery USER=celery "$0" "$@" ;;
  *)
    case " $(id -nG) " in
      *" celery-operators "*) exec sudo -n -u celery -- "$0" "$@" ;;
    esac
    echo "${0##*/}: only for root and members of celery-operators; as root: adduser $(id -un) celery-operators" >&2
    exit 77
    ;;
esac

settings=${CELERY_USE_SETTINGS:-/etc/celery}
# UTF-8, whatever the host's locale or that of an operator's terminal is.
unset LC_ALL LC_CTYPE
export LANG=C.UTF-8
set -a
. "$settings/environment"
if [ -r "$settings/${CELERY_PROGRAM:-}.environment" ]; then . "$settings/$CELERY_PROGRAM.environment"; fi
set +a

# The real folder, not the link: a process keeps the release that it was started with.
release=$(readlink -e "${CELERY_USE_RELEASE:-/opt/celery/current}") || {
  echo "${0##*/}: /opt/celery/current is missing: nothing has been released to this host yet" >&2
  exit 78
}
export CELERY_RELEASE="${release##*/}"
export PATH="$release/bin:$PATH" # as an activated virtual environment has it
cd "$release/app"
exec "$release/bin/python" ARGUMENTS "$@"
