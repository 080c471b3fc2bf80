#!/usr/bin/env bash
# The main job, shown on this machine: fdpassd holds a TCP and a Unix listener, a stock gunicorn
# serves on them through `fdpass exec`, wrk loads it, and the server is killed with SIGKILL and
# started again, ten times, while clients keep coming. The last lines count what became of them.
#
#   examples/demo.sh               everything
#   examples/demo.sh --no-install  do not look for packages
#   RESTARTS=3 examples/demo.sh    fewer restarts
#
# Root on Debian 12 installs what is missing with apt-get and says which; an ordinary user is told the
# command. It builds in build/demo of the checkout, works in a folder of its own in /tmp, takes a port
# that the kernel gives, and leaves nothing running. Started again it builds only what changed.
set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
unset LISTEN_FDS LISTEN_PID LISTEN_FDNAMES NOTIFY_SOCKET

# shellcheck source=tests/packages.sh
. tests/packages.sh

readonly RESTARTS=${RESTARTS:-10}
readonly BUILD=build/demo
readonly FDPASSD=$BUILD/broker/fdpassd/fdpassd FDPASS=$BUILD/broker/cli/fdpass
case ${1-} in
'') packages_install "${PACKAGES_BUILD[@]}" "${PACKAGES_DEMO[@]}" ;;
--no-install | --inside) ;;
*) sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//;p}' "$0" && exit 2 ;;
esac

folder=''
broker='' server='' wrk='' probe=''

say() {
        printf '\n== %s\n' "$*"
}

# Ends only what was started here, by its process id; the server with its workers by its group.
finish() {
        local pid
        trap - EXIT
        trap '' INT TERM HUP
        [ -z "$server" ] || kill -KILL -- "-$server" 2>/dev/null || :
        for pid in $wrk $probe $broker; do kill -TERM "$pid" 2>/dev/null || :; done
        for pid in $server $wrk $probe $broker; do wait "$pid" 2>/dev/null || :; done
        [ -z "$folder" ] || rm -rf "$folder"
        packages_policy_end
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# Wait for what a background process does: CONDITION, at most 30 s, while PID lives.
await() { # PID WHAT LOG CONDITION...
        local pid=$1 what=$2 log=$3 tries
        shift 3
        for ((tries = 0; tries < 600; tries++)); do
                "$@" && return 0
                kill -0 "$pid" 2>/dev/null || break
                sleep 0.05
        done
        echo "demo: $what; its output:" >&2
        cat "$log" >&2
        return 1
}

build() {
        say "build (in $BUILD)"
        [ -e $BUILD/build.ninja ] ||
                meson setup $BUILD -Dtests=disabled -Dbench=disabled -Dman=disabled >"$folder/setup.log" ||
                { cat "$folder/setup.log" && return 1; }
        ninja -C $BUILD -j 2 broker/fdpassd/fdpassd broker/cli/fdpass
}

start_broker() {
        say "the broker holds a TCP and a Unix listener"
        port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
        printf '%s\n' "[Broker]" "ControlSocket=$folder/broker.sock" "" \
                "[Socket web]" "ListenStream=127.0.0.1:$port" "ListenStream=$folder/web.sock" >"$folder/fdpass.conf"
        sed 's/^/    /' "$folder/fdpass.conf"
        export FDPASS_SOCKET=$folder/broker.sock
        $FDPASSD --config "$folder/fdpass.conf" --log-target stderr 2>"$folder/broker.log" &
        broker=$!
        await $broker "the broker did not start" "$folder/broker.log" test -S "$folder/broker.sock"
}

start_server() {
        # The Unix socket goes to gunicorn as well: it takes every descriptor of LISTEN_FDS.
        setsid $FDPASS exec web -- gunicorn --workers 2 --log-level warning --chdir examples/demo hello:application \
                >>"$folder/gunicorn.log" 2>&1 &
        server=$!
}

# The server answers on both addresses: asked with curl, which waits in the queue as everybody does.
served() {
        curl -sS -o /dev/null --max-time 30 "http://127.0.0.1:$port/" &&
                curl -sS -o /dev/null --max-time 30 --unix-socket "$folder/web.sock" http://localhost/
}

# The kernel counts connection attempts that were turned down, of every program in this network
# namespace; wrk itself cannot tell a refused connection from one that broke.
refused_counter() {
        awk '/^Tcp:/ { if (!n) { for (i = 2; i <= NF; i++) if ($i == "AttemptFails") n = i } else print $n }' /proc/net/snmp
}

# The rest runs in a network namespace of its own, where this machine allows that (to an ordinary
# user by a user namespace), so that the kernel's count of refused connections is of this
# demonstration alone, however busy the machine is.
go_inside() {
        local namespace=(unshare --net --)
        [ "${1-}" != --inside ] || return 0
        [ "$(id -u)" = 0 ] || namespace=(unshare --user --map-current-user --keep-caps --net --)
        "${namespace[@]}" python3 -c "$LO_UP" 2>/dev/null || return 0
        rm -rf "$folder"
        trap - EXIT
        # shellcheck disable=SC2016  # for the inner shell
        exec "${namespace[@]}" "$BASH" -c 'python3 -c "$1" && exec "$BASH" "$2" --inside' - "$LO_UP" "$PWD/examples/demo.sh"
}
# ip(8) is not on every machine; SIOCSIFFLAGS, IFF_UP|IFF_RUNNING: netdevice(7)
readonly LO_UP='import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 0x41))'

restart_under_load() {
        local i
        say "wrk loads it, and the server is killed and started again $RESTARTS times"
        before=$(refused_counter)
        wrk --threads 2 --connections 32 --duration 600s --timeout 60s --script examples/demo/report.lua \
                "http://127.0.0.1:$port/" >"$folder/wrk.log" 2>&1 &
        wrk=$!
        python3 examples/demo/probe.py "$port" "$folder/web.sock" >"$folder/probe.log" 2>&1 &
        probe=$!
        for ((i = 1; i <= RESTARTS; i++)); do
                sleep 0.7 # under load, for a while
                kill -KILL -- "-$server"
                wait "$server" 2>/dev/null || :
                printf '   kill -9 number %2d: pid %d is gone, ' "$i" "$server"
                start_server
                served
                printf 'pid %d serves on the same sockets\n' "$server"
        done
        sleep 0.7
        # SIGINT is how wrk is told to end early and report.
        kill -INT $wrk
        wait $wrk || :
        wrk=''
        kill -TERM $probe
        wait $probe || :
        probe=''
        after=$(refused_counter)
}

show_status() {
        say "fdpass status"
        $FDPASS status
}

report() {
        local requests wrk_connect wrk_cut wrk_timeout wrk_longest tcp unix made refused cut longest
        read -r requests wrk_connect wrk_cut wrk_timeout < <(sed -n 's/^RESULT //p' "$folder/wrk.log")
        read -r wrk_longest < <(sed -n 's/^LONGEST //p' "$folder/wrk.log")
        { read -r -a tcp && read -r -a unix; } <"$folder/probe.log" || { cat "$folder/wrk.log" "$folder/probe.log" && return 1; }
        made=$((requests + wrk_connect + wrk_cut + tcp[0] + unix[0]))
        refused=$((after - before + unix[1]))
        cut=$((wrk_cut + tcp[2] + unix[2]))
        longest=$(printf '%s\n' "$wrk_longest" "${tcp[3]}" "${unix[3]}" | sort -n | tail -n 1)
        if [ "$wrk_connect$wrk_timeout" != 00 ]; then cat "$folder/wrk.log" && return 1; fi

        say "what became of the connections ($requests by wrk, ${tcp[0]} TCP and ${unix[0]} Unix by a probe)"
        echo "   Cut off: connections that the server had accepted when kill -9 hit it. No holder of a"
        echo "   socket can save those; ending a server by SIGTERM lets it finish them."
        echo "   Refused: counted by the kernel (TCP) and by the probe (Unix)."
        echo
        echo "restarts:      $RESTARTS"
        echo "connections:   $made"
        echo "cut off:       $cut"
        echo "refused:       $refused"
        echo "longest wait:  $longest ms"
        echo
        if [ "$refused" != 0 ]; then
                echo "Connections were refused. If no other program of this machine did that, it is a bug: please report it."
                return 1
        fi
        echo "Next: the tour in README.md does this by hand; tests/run.sh runs every test."
}

folder=$(mktemp -d "/tmp/fdpass-demo.XXXXXX")
[ "${1-}" = --inside ] || build
go_inside "$@"
start_broker
say "a stock gunicorn serves on them: fdpass exec web -- gunicorn ..."
start_server
await "$server" "gunicorn did not start" "$folder/gunicorn.log" served
show_status
restart_under_load
report
