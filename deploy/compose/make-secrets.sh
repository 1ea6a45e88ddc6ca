#!/bin/sh
# Makes the secrets that compose.yaml names, in the folder secrets/ beside this file; keeps what is there.
# The files are readable by the users in the containers, the folder only by you; what you are to replace you can write.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
chmod 700 secrets
cd secrets
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
for name in postgres_password postgres_owner_password postgres_daemon_password digest_key grafana_password; do
  [ -s "$name" ] || random >"$name"
done
# The integration key of a PagerDuty service (Events API v2): replace it, or nobody is called.
[ -s pagerduty_key ] || printf 'replace-me-by-an-integration-key' >pagerduty_key
# An address that expects a sign of life each minute: replace it, or nobody notices that this machine is gone.
[ -s heartbeat_url ] || printf 'https://replace-me.invalid/heartbeat' >heartbeat_url
chmod 444 postgres_password postgres_owner_password postgres_daemon_password digest_key grafana_password
chmod 644 pagerduty_key heartbeat_url
