#!/bin/sh
# Mounts a host's disk: an image with a file system of its own, so that what a host has not synced can really be lost.
# Where this machine has no loop devices, a folder takes the image's place.
# Usage: sh -c "$(cat disk.sh)" disk DISK STORE SIZE PATH …     STORE.img is mounted at DISK; PATHs are folders in it
set -eu
disk=$1 store=$2 size=$3
shift 3
mkdir -p "$disk" "${store%/*}"
! mountpoint -q "$disk" || exit 0
if [ ! -e "$store.img" ] && [ ! -e "$store" ]; then
  truncate --size "$size" "$store.img"
  mkfs.ext4 -q -F -m 0 "$store.img"
  if mount -o loop "$store.img" "$disk"; then umount "$disk"; else rm "$store.img" && mkdir "$store"; fi
fi
if [ -e "$store.img" ]; then mount -o loop "$store.img" "$disk"; else mount --bind "$store" "$disk"; fi
for path; do
  mkdir -p "$disk$path"
done
echo mounted
