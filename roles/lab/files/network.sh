#!/bin/sh
# Makes the lab's network where there is none, and describes it.
# Usage: sh -c "$(cat network.sh)" network NAME LABEL=VALUE
set -eu
podman network exists "$1" || podman network create --label "$2" "$1" >/dev/null
podman network inspect "$1"
