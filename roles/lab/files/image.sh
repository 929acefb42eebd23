#!/bin/bash
# Makes the image of a Debian host: what an administrator gets who asks for a small virtual machine.
# Usage: image.sh IMAGE VERSION USER     VERSION: 12 or 13; USER: may log in and become root
# Keeps the image that is there while this recipe is the one that it was made by; prints "built" otherwise.
set -euo pipefail
image=$1:$2 user=$3
case $2 in
  12) suite=bookworm ;;
  13) suite=trixie ;;
  *) echo "lab_debian is $2: allowed are 12 and 13" >&2; exit 2 ;;
esac
label=celery-on-hosts.recipe
recipe=$(printf '%s\n' "$@" | cat - "$0" | sha256sum | cut -c1-16)

exec 9>/run/lock/celery-on-hosts-image
flock 9 # hosts and labs ask at the same time
kept=$(podman image inspect --format "{{ index .Labels \"$label\" }}" "$image" 2>/dev/null || true)
[ "$kept" != "$recipe" ] || exit 0

# Podman takes half an archive for an image. So the image gets its name when the archive is whole.
trap 'test $? = 0 || podman image rm --force "$image-part" >/dev/null 2>&1' EXIT
# Nobody needs a systemd of their own there. On version 1 of cgroups a container's systemd is not told that the last process
# of a unit has ended: a host waited two minutes for users' before it shut down or let the user in again.
# shellcheck disable=SC2016 # $1 is for the hooks' own shell
mmdebstrap --quiet --variant=minbase \
  --include=systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,python3,python3-apt,ca-certificates \
  --include=iproute2,procps,nftables \
  --customize-hook="chroot \"\$1\" useradd --create-home --shell /bin/bash $user" \
  --customize-hook="echo '$user ALL=(ALL) NOPASSWD: ALL' >\"\$1/etc/sudoers.d/$user\"" \
  --customize-hook='echo "PasswordAuthentication no" >"$1/etc/ssh/sshd_config.d/lab.conf"' \
  --customize-hook='rm -f "$1"/etc/ssh/ssh_host_*' \
  --customize-hook='mkdir "$1/etc/systemd/system/ssh.service.d"' \
  --customize-hook='printf "%s\n" "[Service]" "# each host makes keys of its own when it boots for the first time" \
    "ExecStartPre=" "ExecStartPre=/usr/bin/ssh-keygen -A" "ExecStartPre=/usr/sbin/sshd -t" \
    >"$1/etc/systemd/system/ssh.service.d/keys.conf"' \
  --customize-hook='ln -s /dev/null "$1/etc/systemd/system/user@.service"' \
  "$suite" - |
  podman import --quiet --change 'CMD ["/lib/systemd/systemd"]' --change "LABEL $label=$recipe" - "$image-part" >/dev/null
podman tag "$image-part" "$image"
podman untag "$image-part" "$image-part"
podman image prune --force --filter "label=$label" >/dev/null
echo built
