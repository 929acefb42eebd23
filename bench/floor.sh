#!/bin/sh
# The floor under any deployment: the same Debian packages, installed as apt does it, and the same archives, unpacked.
# Usage: floor.sh ROOT ARCHIVES… -- PACKAGES…     archives are unpacked below ROOT
set -eu
root=$1
shift
mkdir -p "$root"
while [ "$1" != -- ]; do
  tar --extract --gzip --file "$1" --directory "$root"
  shift
done
shift
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2
apt-get install --quiet=2 --yes --no-install-recommends "$@"
