#!/bin/sh
# Removes what carries the label: containers with their volumes, then networks. Prints what it removed.
# Usage: sh -c "$(cat destroy.sh)" destroy LABEL=VALUE
set -eu
podman ps --all --quiet --filter "label=$1" | xargs --no-run-if-empty podman rm --force --time 0 --volumes
podman network ls --quiet --filter "label=$1" | xargs --no-run-if-empty podman network rm
