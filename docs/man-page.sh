#!/bin/sh
# man-page.sh SCDOC INPUT OUTPUT VERSION: a page with the version in its footer.
set -eu
scdoc=$1 input=$2 output=$3 version=$4

sed "1s/^\([^ ]*\)\$/\1 \"fdpass $version\" \"fdpass\"/" "$input" > "$output.scd"
"$scdoc" < "$output.scd" > "$output"
rm "$output.scd"
