#!/bin/bash
# usage: tools/get_chromium.sh
#
# Chromium for the browser tests, from the packages of this machine's own Debian or Ubuntu, which
# apt verifies. Nothing is done where one is on the PATH, or where CHROMIUM names one. Otherwise
# root is needed: the package depends on libraries of the system.
set -euo pipefail

die() {
    echo "get_chromium: $*" >&2
    exit 1
}

found() {
    local program
    for program in ${CHROMIUM:+"$CHROMIUM"} chromium chromium-browser google-chrome; do
        if command -v "$program" >/dev/null; then
            echo "get_chromium: there is $(command -v "$program")"
            return 0
        fi
    done
    return 1
}

[ $# -eq 0 ] || die "usage: get_chromium.sh"
if found; then
    exit 0
fi
command -v apt-get >/dev/null || die "install Chromium, or name one with CHROMIUM=...: no apt-get here"
[ "$(id -u)" -eq 0 ] || die "root is needed: apt-get install chromium, or name one with CHROMIUM=..."
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "get_chromium: installing Debian's chromium"
{ apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium; } >"$log" 2>&1 ||
    die "apt-get cannot install chromium ($(tail -n 1 "$log"))"
found || die "apt-get installed chromium, but there is no such command"
