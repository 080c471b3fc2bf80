#!/bin/sh
# run-target.sh TARGET CORPUS FOUND SECONDS
#
# Replay every input of CORPUS, then fuzz for SECONDS beginning from it. What is found on the way
# goes to FOUND, in the build folder, and is the beginning of the next run; an input that breaks the
# target goes there too, and its name is in the output: add it to CORPUS with the fix.
set -eu
target=$1 corpus=$2 found=$3 seconds=$4

set -- "$corpus"/*
if [ ! -f "$1" ]; then
        echo "run-target.sh: $corpus is empty: each target has a corpus" >&2
        exit 1
fi
mkdir -p "$found"
"$target" -timeout=10 "$@"
dictionary=
if [ -f "$corpus.dict" ]; then dictionary="-dict=$corpus.dict"; fi
# shellcheck disable=SC2086  # no word when there is no dictionary
exec "$target" $dictionary -timeout=10 -rss_limit_mb=1024 -max_len=20000 -print_final_stats=1 \
        -max_total_time="$seconds" -artifact_prefix="$found/broken-" "$found" "$corpus"
