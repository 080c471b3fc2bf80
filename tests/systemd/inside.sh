#!/usr/bin/env bash
# Runs under the systemd that run-under-systemd.sh booted: installs what was built into the
# throw-away file system, as "meson install" does anywhere, and tests it there.
#
#   inside.sh BUILD JUNIT-XML
set -eu
build=$1 xml=$2
cd "$(dirname "$0")/../.."
[ "${RUN_UNDER_SYSTEMD-}" = 1 ] || { echo "inside.sh: start me by run-under-systemd.sh" >&2; exit 2; }

meson install -C "$build" --no-rebuild --quiet
systemctl daemon-reload
rm -f "$xml"
FDPASSD=/usr/local/sbin/fdpassd FDPASS=/usr/local/bin/fdpass BUILD=$build \
        exec /usr/bin/python3 -m pytest -p no:cacheprovider -q -ra --durations=5 \
        --junitxml="$xml" tests/systemd
