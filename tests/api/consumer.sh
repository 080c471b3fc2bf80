#!/bin/sh
# consumer.sh BUILD SOURCE
#
# A project outside: installs into a DESTDIR, finds libfdpass by pkg-config alone, builds the example
# server with it, and runs it with a listener passed by LISTEN_FDS.
set -eu
build=$1 source=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

DESTDIR=$folder/root ${MESON:-meson} install -C "$build" --no-rebuild --quiet

pc=$(find "$folder/root" -name libfdpass.pc)
test -f "$pc"
PKG_CONFIG_LIBDIR=$(dirname "$pc")
PKG_CONFIG_SYSROOT_DIR=$folder/root
# A sanitized library wants a sanitized program: its runtime must come first.
case ${SANITIZE:-none} in
none) flags= ;;
*) flags=-fsanitize=$SANITIZE ;;
esac
export PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR
test "$(pkg-config --modversion libfdpass)" != ""
# shellcheck disable=SC2046,SC2086  # words
${CC:-cc} -O2 -Wall -Wextra -Wno-missing-field-initializers -Werror -pthread $flags \
        "$source/examples/c-server/server.c" $(pkg-config --cflags --libs libfdpass) \
        -o "$folder/server"
# The example of the manual is a whole program, too.
# shellcheck disable=SC2016  # no command: the fence of a literal block
sed -n '/^# EXAMPLE/,/^# SEE/p' "$source/docs/man/libfdpass.3.scd" | sed -n '/^```$/,/^```$/p' |
        sed -e '/^```$/d' -e 's/\\\\/\\/g' > "$folder/example.c"
# shellcheck disable=SC2046,SC2086
${CC:-cc} -O2 -Wall -Wextra -Werror $flags "$folder/example.c" \
        $(pkg-config --cflags --libs libfdpass) -o "$folder/example"
LD_LIBRARY_PATH=$(pkg-config --variable=libdir libfdpass)
case $LD_LIBRARY_PATH in
"$folder"/*) ;;
*) LD_LIBRARY_PATH=$folder/root$LD_LIBRARY_PATH ;;
esac
export LD_LIBRARY_PATH

/usr/bin/python3 "$source/tests/api/consumer.py" "$folder/server"
