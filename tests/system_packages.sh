#!/bin/sh
# Installs the programs that tests call and pip can't bring, through apt where this user may; else says which.
set -eu
missing=""
has() { command -v "$1" >/dev/null 2>&1; }
has faketime || missing="$missing faketime"
has strace || missing="$missing strace"
has openssl || missing="$missing openssl"
has nginx || [ -x /usr/sbin/nginx ] || missing="$missing nginx-light"
has java || missing="$missing default-jre-headless"
has kcat || missing="$missing kcat"
has node && has npm || missing="$missing nodejs npm"
has chromium || has chromium-browser || has google-chrome || missing="$missing chromium"
has pg_ctl || [ -n "$(ls /usr/lib/postgresql/*/bin/pg_ctl /opt/homebrew/opt/postgresql@*/bin/pg_ctl 2>/dev/null)" ] ||
    missing="$missing postgresql"
{ has ruby && ruby -e 'require "bunny"' 2>/dev/null; } || missing="$missing ruby ruby-bunny"
has amqp-publish || missing="$missing amqp-tools"
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || missing="$missing rabbitmq-server"
[ -z "$missing" ] && exit 0
if [ "$(uname -s)" = Linux ] && command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then SUDO=""; else SUDO="sudo -n"; fi
    # shellcheck disable=SC2086
    if $SUDO apt-get update -qq && $SUDO apt-get install -y -qq --no-install-recommends $missing >/dev/null; then exit 0; fi
fi
echo "Missing for some tests:$missing. Install with your system's package manager; those tests are skipped without." >&2
[ -z "${CI:-}" ]
