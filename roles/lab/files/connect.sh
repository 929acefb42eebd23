#!/bin/sh
# Runs inside a new host: waits until it has booted, lets the key on stdin log in as USER, prints the host's own key.
# Usage: sh -c "$(cat connect.sh)" connect USER SECONDS
set -eu
user=$1 seconds=$2
while state=$(systemctl is-system-running 2>/dev/null || true); [ "$state" != running ]; do
  if [ "$state" = degraded ] || [ "$seconds" -le 0 ]; then
    echo "the host did not boot: systemd says '$state'" >&2
    systemctl --failed --plain --no-legend >&2
    exit 1
  fi
  seconds=$((seconds - 1))
  sleep 1
done
ssh="/home/$user/.ssh"
install -d -m 0700 -o "$user" -g "$user" "$ssh"
install -m 0600 -o "$user" -g "$user" /dev/stdin "$ssh/authorized_keys"
cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub
