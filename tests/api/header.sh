#!/bin/sh
# header.sh FDPASS_H: the public header needs nothing before it, and is C89 as well as C++.
set -eu
header=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Twice: it is guarded. And each name can be used: a call of each kind.
cat > "$folder/use.c" <<END
#include "$header"
#include "$header"
int use(struct fdpass *c, int *fds);
int use(struct fdpass *c, int *fds) {
        return fdpass_listener("web") + fdpass_listeners("web", &fds) + fdpass_get_fd(c);
}
END
cp "$folder/use.c" "$folder/use.cc"

strict="-pedantic-errors -Wall -Wextra -Werror -fsyntax-only"
for standard in c89 gnu89 c99 c17; do
        # shellcheck disable=SC2086  # words
        ${CC:-cc} -std=$standard $strict -Wstrict-prototypes "$folder/use.c"
        echo "ok: $standard"
done
for cxx in ${CXX:-} c++ clang++; do
        command -v "$cxx" > /dev/null || continue
        for standard in c++98 c++17; do
                # shellcheck disable=SC2086
                "$cxx" -std=$standard $strict "$folder/use.cc"
                # The names must not be mangled.
                "$cxx" -std=$standard -c -o "$folder/use.o" "$folder/use.cc"
                nm "$folder/use.o" | grep -q ' U fdpass_listener$'
                echo "ok: $standard"
        done
        exit 0
done
echo "no C++ compiler: not tested as C++"
