#!/bin/sh
# Makes the secrets that compose.yaml names, in the folder secrets/ beside this file; keeps what is there.
# The files are readable by the users in the containers, the folder only by you. What is Tocsin's alone is
# given to its user (10001), which wants root: PostgreSQL's client ignores a password file of others.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
chmod 700 secrets
cd secrets
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
for name in postgres_password digest_key grafana_password; do
  [ -s "$name" ] || random >"$name"
done
# The integration key of a PagerDuty service (Events API v2): replace it, or nobody is called.
[ -s pagerduty_key ] || printf 'replace-me-by-an-integration-key' >pagerduty_key
[ -s pgpass ] || printf 'postgres:5432:tocsin:tocsin:%s\n' "$(cat postgres_password)" >pgpass
chmod 444 postgres_password pagerduty_key grafana_password
chmod 400 pgpass digest_key
if [ "$(id -u)" = 0 ]; then
  chown 10001:10001 pgpass digest_key
else
  echo "as root: cd $(pwd) && chown 10001:10001 pgpass digest_key" >&2
fi
