#!/bin/sh
# System packages that the tests use: a Java runtime and Maven for Apache Kafka, tmux for the terminal.
# Installs them as root on Debian; otherwise says what to install. Missing ones are skipped by the tests.
set -eu
wanted=""
command -v java >/dev/null || wanted="$wanted default-jre-headless"
command -v mvn >/dev/null || wanted="$wanted maven"
command -v tmux >/dev/null || wanted="$wanted tmux"
[ -z "$wanted" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  # shellcheck disable=SC2086 -- a list of package names
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >/dev/null
else
  echo "not installed:$wanted -- as root: apt-get install$wanted" >&2
fi
