#!/bin/sh
# System packages that the tests use: a Java runtime and Maven for Apache Kafka, PostgreSQL, Prometheus,
# Alertmanager, and tmux for the terminal. The tests start their own servers on free loopback ports.
# Installs them as root on Debian; otherwise says what to install. Missing ones are skipped by the tests.
set -eu
wanted=""
command -v java >/dev/null || wanted="$wanted default-jre-headless"
command -v mvn >/dev/null || wanted="$wanted maven"
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || wanted="$wanted postgresql"
command -v promtool >/dev/null || wanted="$wanted prometheus"
command -v prometheus-alertmanager >/dev/null || wanted="$wanted prometheus-alertmanager"
command -v systemd-analyze >/dev/null || wanted="$wanted systemd"
command -v tmux >/dev/null || wanted="$wanted tmux"
[ -z "$wanted" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  # shellcheck disable=SC2086 -- a list of package names
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >/dev/null
else
  echo "not installed:$wanted -- as root: apt-get install$wanted" >&2
fi
