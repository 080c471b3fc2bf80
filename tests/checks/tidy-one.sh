#!/bin/sh
# tidy-one.sh BUILD FILE: clang-tidy on one file, unless it passed since it and the headers changed.
set -eu
build=$1 file=$2
stamp="$build/tidy/$(echo "$file" | tr / -)"
if [ -e "$stamp" ] && [ -z "$(find "$file" libfdpass broker .clang-tidy \( -name '*.h' -o -path "$file" -o -name .clang-tidy \) -newer "$stamp" -print -quit)" ]; then
        exit 0
fi
rm -f "$stamp"
clang-tidy --quiet -p "$build" "$file" 2>/dev/null
: >"$stamp"
