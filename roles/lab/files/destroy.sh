# Removes what carries the label: containers with their volumes, then networks. Prints what it removed.
# Usage: sh -c "$(cat destroy.sh)" destroy LABEL=VALUE
set -eu
containers=$(podman ps --all --quiet --filter "label=$1")
[ -z "$containers" ] || podman rm --force --time 0 --volumes $containers
networks=$(podman network ls --quiet --filter "label=$1")
[ -z "$networks" ] || podman network rm $networks
