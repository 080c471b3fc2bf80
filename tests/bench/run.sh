#!/bin/sh
# The benchmarks, side by side in one run: prints one table. Five to six minutes.
#
#   tests/bench/run.sh                 all of it
#   tests/bench/run.sh --quick         every part once and short: shows that it works, not how fast
#   tests/bench/run.sh --only PARTS    of acquire,restart,rolling,many,idle,scale,survive,upgrade
#   tests/bench/run.sh --json FILE     the figures, besides
#
# BUILD names the build folder with the programs to measure; without it one without sanitizers is
# made in build/bench.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)

build() {
        [ -e "$BUILD/build.ninja" ] ||
                meson setup "$BUILD" "$root" --buildtype=debugoptimized -Dbench=enabled -Dtests=disabled -Dman=disabled
        ninja -C "$BUILD"
}

if [ -z "${BUILD:-}" ]; then
        BUILD=$root/build/bench
        mkdir -p "$BUILD"
        echo "building in $BUILD ..." >&2
        build >"$BUILD/log" 2>&1 || {
                cat "$BUILD/log" >&2
                exit 1
        }
fi
if [ ! -x "$BUILD/tests/bench/bench_bare" ]; then
        echo "run.sh: BUILD=$BUILD has no built benchmarks; \"meson setup -Dbench=enabled\" makes them" >&2
        exit 2
fi
export BUILD PYTHONDONTWRITEBYTECODE=1
export FDPASSD="${FDPASSD:-$BUILD/broker/fdpassd/fdpassd}" FDPASS="${FDPASS:-$BUILD/broker/cli/fdpass}"
unset LISTEN_FDS LISTEN_PID LISTEN_FDNAMES NOTIFY_SOCKET FDPASS_SOCKET
exec /usr/bin/python3 "$root/tests/bench/bench.py" "$@"
