#!/bin/sh
# Makes a copy of this example in FOLDER, with the paths of that folder in its configuration.
#
#   setup.sh FOLDER BUILD [EDGE [GATEWAY]]   BUILD is the build folder, which has the server in C; the others are
#                                            addresses, 127.0.0.1:8080 and 127.0.0.1:8081
set -eu
[ $# -ge 2 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/run" "$1/www" "$1/units"
folder=$(cd "$1" && pwd) edge=${3:-127.0.0.1:8080} gateway=${4:-127.0.0.1:8081}
cp "$here"/*.py "$here"/*.js "$folder/"
ln -sf "$(cd "$2" && pwd)/examples/c-server" "$folder/c-server"
echo '{"component": "files"}' >"$folder/www/index.json"
cd "$here"
for file in fdpass.conf nginx.conf haproxy.cfg lighttpd.conf units/*; do
        sed "s|@FOLDER@|$folder|g; s|@EDGE@|$edge|g; s|@GATEWAY@|$gateway|g" "$file" >"$folder/$file"
done
echo "$folder: 16 components, http://$edge/feed"
