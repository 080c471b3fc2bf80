#!/usr/bin/env bash
# Everything that is tested, by one command: installs what the tests need, builds, runs, counts.
#
#   tests/run.sh               all of it
#   tests/run.sh SUITE...      only these: unit faults api integration fuzz systemd valgrind checks demo bench
#                              (unit and api are run together, in each build)
#   tests/run.sh --no-install  do not look for packages
#   tests/run.sh --list        name the suites
#
# Root on Debian 12 installs missing packages with apt-get and says which; an ordinary user is told
# the command. Everything is built in build/ of the checkout and nothing outside it is changed
# besides the packages. Started again it does only what is not done yet.
#
# The last line is "N passed, N failed, N skipped"; the exit status is 0 only when nothing failed.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
unset LISTEN_FDS LISTEN_PID LISTEN_FDNAMES NOTIFY_SOCKET FDPASS_SOCKET

# shellcheck source=tests/packages.sh
. tests/packages.sh

readonly ALL_SUITES="unit faults api integration fuzz systemd valgrind checks demo bench"
readonly PYTHON=/usr/bin/python3
# What computes has a processor each. Most tests wait most of the time, so there are more of them at once.
CPUS=$(nproc)
readonly CPUS WAITING=$((2 * CPUS))
LOGS=build/logs
RESULTS=build/results
install=1
suites=""
beside=""

usage() {
        sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//;p}' "$0"
}

options() {
        local word
        for word in "$@"; do
                case $word in
                --no-install) install=0 ;;
                --list) echo "$ALL_SUITES" && exit 0 ;;
                -h | --help) usage && exit 0 ;;
                -*) echo "tests/run.sh: unknown option $word; --help shows them" >&2 && exit 2 ;;
                *)
                        case " $ALL_SUITES " in
                        *" $word "*) suites="$suites $word" ;;
                        *) echo "tests/run.sh: no suite $word; there are: $ALL_SUITES" >&2 && exit 2 ;;
                        esac
                        ;;
                esac
        done
        [ -n "$suites" ] || suites=$ALL_SUITES
}

wanted() {
        local name
        for name in "$@"; do
                case " $suites " in *" $name "*) return 0 ;; esac
        done
        return 1
}

# ---- counting: one line "NAME PASSED FAILED SKIPPED" for each thing that ran ----------------------

count() { # NAME, whose blanks would be taken for the next column
        printf '%s %s %s %s\n' "${1//[ \/]/-}" "$2" "$3" "$4" >>"$RESULTS"
}

# What was counted of the named, or of all: three numbers.
counted() { # [NAME]
        awk -v name="${1//[ \/]/-}" 'name == "" || $1 == name { p += $2; f += $3; s += $4 }
                END { print p + 0, f + 0, s + 0 }' "$RESULTS"
}

# step NAME COMMAND...: run it with its output in a log, and say how it went. The command counts for
# itself; when it fails without having counted a failure, the failure is counted here.
step() {
        local name=$1 log="$LOGS/${1//[ \/]/-}.log" begin=$SECONDS status line passed failed skipped
        shift
        printf '%-34s ' "$name"
        "$@" >"$log" 2>&1 </dev/null
        status=$?
        read -r passed failed skipped < <(counted "$name")
        if [ "$status" != 0 ] && [ "$failed" = 0 ]; then
                failed=1
                count "$name" 0 1 0
        fi
        line="$((SECONDS - begin)) s: $passed passed, $failed failed, $skipped skipped"
        if [ "$status" = 0 ]; then
                echo "ok      $line"
        else
                echo "FAILED  $line"
                sed 's/^/    | /' <(tail -n 60 "$log")
                echo "    all of it: $log"
        fi
        return "$status"
}

# beside COMMAND...: steps that wait more than they compute, while those that compute go on. What they
# say comes with beside_end. They are a process group, which an interrupt reaches by beside_kill.
beside() {
        set -m
        "$@" >"$LOGS/beside.txt" 2>&1 </dev/null &
        beside=$!
        set +m
}
beside_end() {
        [ -n "$beside" ] || return 0
        wait "$beside"
        beside=''
        cat "$LOGS/beside.txt"
}
beside_kill() {
        [ -z "$beside" ] || kill -TERM -- "-$beside" 2>/dev/null || :
}

# tally NAME KIND FILE: count what a test runner wrote
tally() {
        local numbers
        numbers=$("$PYTHON" tests/tally.py "$2" "$3") || numbers="0 1 0"
        # shellcheck disable=SC2086  # three words
        count "$1" $numbers
}

# ---- builds ---------------------------------------------------------------------------------------

# build NAME MESON-OPTIONS...: configure once, compile what changed
build() {
        local name=$1 dir="build/$1"
        shift
        if [ ! -e "$dir/build.ninja" ]; then
                rm -rf "$dir"
                meson setup "$dir" -Dwerror=true "$@" || return 1
        fi
        ninja -C "$dir" -j "$CPUS" || return 1
        count "build-$name" 1 0 0
}

build_plain() {
        build plain
}
build_sanitize() {
        build sanitize -Db_sanitize=address,undefined -Db_lundef=false
}
# The other compiler, for its warnings, and for its fuzzer. The whole tree is instrumented so that
# the fuzzer sees which way its input goes.
build_clang() {
        CC=clang build clang -Dfuzz=enabled -Db_sanitize=address,undefined -Db_lundef=false \
                -Dc_args=-fsanitize=fuzzer-no-link -Dc_link_args=-fsanitize=fuzzer-no-link
}

# ---- suites ---------------------------------------------------------------------------------------

# Sanitizers end the process at the first finding, and say where.
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:detect_stack_use_after_return=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

# In a network of its own, where root may have one: no port of it is taken by anybody else, not even by
# the TIME_WAIT remainders of the tests before.
isolated() {
        if [ "$(id -u)" = 0 ] && unshare --net ip link set lo up 2>/dev/null; then
                unshare --net -- sh -c 'ip link set lo up && exec "$@"' sh "$@"
        else
                "$@"
        fi
}

meson_suites() { # HOW-MANY-AT-ONCE BUILD NAME SUITE...
        local at_once=$1 build=$2 name=$3 status=0 args=() suite
        shift 3
        for suite in "$@"; do args+=(--suite "$suite"); done
        rm -f "build/$build/meson-logs/$name.json"
        isolated meson test -C "build/$build" --no-rebuild --num-processes "$at_once" --print-errorlogs \
                --logbase "$name" "${args[@]}" || status=$?
        tally "$name $build" meson "build/$build/meson-logs/$name.json"
        return "$status"
}

run_meson_tests() {
        local build suite list=() names
        for suite in unit api; do
                if wanted "$suite"; then list+=("$suite"); fi
        done
        names=${list[*]}
        for build in plain sanitize; do
                step "$names $build" meson_suites "$WAITING" "$build" "${names// /-}" "${list[@]}"
        done
}

# Without pytest-xdist: one by one.
pytest_workers() {
        if "$PYTHON" -c 'import xdist' 2>/dev/null; then echo "-n $WAITING"; fi
}

# A part of a folder's tests; no test at all in it is good.
pytest_part() { # BUILD NAME FOLDER PART PYTEST-OPTION...
        local build=$1 name=$2 folder=$3 xml="$LOGS/$2-$1-$4.xml" status=0 temporary
        shift 4
        # pytest's own choice is /tmp/pytest-of-USER, and users without a name share "unknown".
        temporary=$(mktemp -d /tmp/fdpass-pytest.XXXXXX)
        rm -f "$xml"
        BUILD="$PWD/build/$build" FDPASSD="$PWD/build/$build/broker/fdpassd/fdpassd" FDPASS="$PWD/build/$build/broker/cli/fdpass" \
                PYTEST_DEBUG_TEMPROOT=$temporary isolated timeout -k 10 900 "$PYTHON" -m pytest -p no:cacheprovider -q -ra --durations=10 \
                --junitxml="$xml" "$@" "$folder" || status=$?
        rm -rf "$temporary"
        tally "$name $build" junit "$xml"
        [ "$status" = 0 ] || [ "$status" = 5 ]
}

pytest_in() { # BUILD NAME FOLDER
        local workers status=0
        workers=$(pytest_workers)
        # shellcheck disable=SC2086  # two words or none
        pytest_part "$@" together -m "not alone" $workers || status=1
        # What measures needs the machine for itself: marker "alone", see tests/conftest.py.
        pytest_part "$@" alone -m alone || status=1
        return "$status"
}

run_integration() {
        local build
        for build in plain sanitize; do
                step "integration $build" pytest_in "$build" integration tests/integration
        done
}

# The broker killed at its n-th system call; strace has its own business with a sanitized one.
run_faults() {
        step "crash points plain" pytest_in plain crash-points tests/faults
}

fuzz() {
        meson_suites "$CPUS" clang fuzz fuzz
}

run_fuzz() {
        step "fuzz clang" fuzz
}

systemd_tests() {
        tests/systemd/run-under-systemd.sh --timeout 600 --journal "$PWD/$LOGS/systemd-journal.log" -- \
                "$PWD/tests/systemd/inside.sh" "$PWD/build/plain" "$PWD/$LOGS/systemd-plain.xml"
        local status=$?
        tally "systemd plain" junit "$LOGS/systemd-plain.xml"
        return "$status"
}

# A reason when no systemd can be booted here, nothing when one can.
no_systemd_here() {
        if [ "$(id -u)" != 0 ]; then
                echo "booting a systemd of their own needs root"
        elif ! grep -q ' - cgroup2 ' /proc/self/mountinfo; then
                echo "no cgroup2 hierarchy is mounted"
        elif ! unshare --mount --pid --fork --ipc --uts --net true 2>/dev/null; then
                echo "this container may not make namespaces"
        fi
}

run_systemd() {
        local reason
        reason=$(no_systemd_here)
        if [ -n "$reason" ]; then
                printf '%-34s skipped: %s\n' "systemd plain" "$reason"
                count systemd-plain 0 0 1
                return
        fi
        step "systemd plain" systemd_tests
}

valgrind_tests() {
        local status=0
        isolated "$PYTHON" tests/valgrind/run.py build/plain "$LOGS/valgrind.counts" || status=$?
        tally "valgrind plain" counts "$LOGS/valgrind.counts"
        return "$status"
}

checks() {
        local status=0
        tests/checks/run.sh build/clang "$LOGS/checks.counts" || status=$?
        tally "checks" counts "$LOGS/checks.counts"
        return "$status"
}

# What the README promises first: shown as a user would, with fewer restarts.
demo() {
        RESTARTS=3 examples/demo.sh --no-install || return 1
        count demo 1 0 0
}

# Not for its figures, which need a quiet machine: that it runs and counts.
bench() {
        meson_suites "$CPUS" plain bench bench
}

# ---- all of it ------------------------------------------------------------------------------------

prepare() {
        mkdir -p build "$LOGS" 2>/dev/null
        if ! { exec 9>>build/.lock && : >>"$RESULTS"; } 2>/dev/null; then
                echo "tests/run.sh: cannot write to build/: another user built here. Remove build/ or use a checkout of your own." >&2
                exit 2
        fi
        if ! flock -n 9; then
                echo "tests/run.sh: another one is at work in this checkout; waiting for its end"
                flock 9
        fi
        : >"$RESULTS"
        [ "$install" = 0 ] || packages_install "${PACKAGES_BUILD[@]}" "${PACKAGES_TEST[@]}" || exit 2
}

run_all() {
        local plain=0 sanitize=0 clang=0
        if wanted unit faults api integration systemd valgrind bench; then
                step "build plain" build_plain && plain=1
        fi
        if wanted unit api integration; then step "build sanitize" build_sanitize && sanitize=1; fi
        if wanted fuzz checks; then step "build clang" build_clang && clang=1; fi

        if wanted checks; then step "checks" checks; fi
        if wanted unit api && [ $plain$sanitize = 11 ]; then run_meson_tests; fi
        if wanted faults && [ $plain = 1 ]; then run_faults; fi
        if wanted integration && [ $plain$sanitize = 11 ]; then run_integration; fi
        beside run_waiting $plain
        if wanted valgrind && [ $plain = 1 ]; then step "valgrind plain" valgrind_tests; fi
        if wanted fuzz && [ $clang = 1 ]; then run_fuzz; fi
        beside_end
        if wanted bench && [ $plain = 1 ]; then step "bench plain" bench; fi
}

run_waiting() { # IS-PLAIN-BUILT
        if wanted systemd && [ "$1" = 1 ]; then run_systemd; fi
        if wanted demo; then step "demo" demo; fi
}

finish() {
        local passed failed skipped
        read -r passed failed skipped < <(counted "")
        echo
        if [ "$failed" != 0 ]; then
                echo "Next: read the log of what failed in $LOGS/; \"tests/run.sh SUITE\" runs one suite again."
        else
                echo "Next: examples/demo.sh shows the broker at work; CONTRIBUTING.md says how to send a change."
        fi
        echo "$passed passed, $failed failed, $skipped skipped"
        [ "$failed" = 0 ]
}

# Read as a whole before it begins: who edits this file meanwhile changes the next run, not this one.
{
        options "$@"
        trap 'beside_kill; packages_policy_end' EXIT
        prepare
        run_all
        finish
        exit
}
