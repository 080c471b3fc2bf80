#!/usr/bin/env bash
# Checks of the source itself: which folder may include what, format, static analysis, scripts.
#
#   run.sh BUILD COUNTS    BUILD: a build folder with compile_commands.json; COUNTS: a file for
#                          lines "ok NAME", "not ok NAME", "skip NAME: reason"
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 2
BUILD=$1
COUNTS=$2
: >"$COUNTS"

mapfile -t C_FILES < <(find libfdpass broker tests examples -name '*.[ch]' | sort)
mapfile -t SOURCES < <(find libfdpass broker -name '*.c' | sort)
# A shell script is known by its first line; completion and sourced files by their name.
mapfile -t SCRIPTS < <({
        find tests examples .ci -type f ! -name '*.c' -exec grep -lE '^#!.*\b(ba)?sh\b' {} + 2>/dev/null
        echo tests/packages.sh
} | sort -u)

# check NAME COMMAND...: its output is shown when it fails; status 77 and a last line of output mean
# "skipped, because".
check() {
        local name=$1 output status
        shift
        output=$("$@" 2>&1)
        status=$?
        case $status in
        0) echo "ok $name" ;;
        77) echo "skip $name: ${output##*$'\n'}" ;;
        *) printf '%s\nnot ok %s\n' "$output" "$name" ;;
        esac | tee >(grep -E "^(ok|not ok|skip) ${name//./\\.}" >>"$COUNTS")
}

have() {
        command -v "$1" >/dev/null || {
                echo "$1 is not installed"
                return 77
        }
}

format() {
        have clang-format || return
        # Another version formats differently; the style is that of Debian 12's.
        case $(clang-format --version) in
        *" version 14."*) clang-format --dry-run -Werror "${C_FILES[@]}" ;;
        *) echo "the style is checked with clang-format 14" && return 77 ;;
        esac
}

static_analysis() {
        have cppcheck || return
        cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 -j "$(nproc)" -D_GNU_SOURCE -D__linux__ \
                --enable=warning,performance,portability --suppressions-list=tests/checks/cppcheck.suppress \
                --include=tests/checks/cppcheck.h -I libfdpass -I broker "${SOURCES[@]}"
}

tidy() {
        have clang-tidy || return
        [ -e "$BUILD/compile_commands.json" ] || {
                echo "$BUILD has no compile_commands.json"
                return 77
        }
        printf '%s\n' "${SOURCES[@]}" | xargs -P "$(nproc)" -n 8 clang-tidy --quiet -p "$BUILD" 2>/dev/null
}

scripts() {
        have shellcheck || return
        shellcheck -x --severity=warning "${SCRIPTS[@]}"
}

# A placeholder is a promise to a reader that nobody keeps: it carries an issue or stays out.
placeholders() {
        ! grep -rnE '\b(TODO|FIXME|XXX)\b' --include='*.[ch]' --include='*.py' --include='*.md' --include='*.scd' \
                --include='meson.build' libfdpass broker tests units docs examples ./*.md | grep -v '^tests/checks/'
}

# Letters that look like others, and quotes that a compiler does not know, hide in source text.
plain_text() {
        ! grep -nP '[^\x00-\x7F]' "${C_FILES[@]}" "${SCRIPTS[@]}" | grep -vP '^[^:]*:[0-9]+:.*["*/#].*'
}

control_characters() {
        ! grep -rnIP '[\x00-\x08\x0B-\x1F]|[ \t]+$' --include='*.[ch]' --include='*.py' --include='*.sh' \
                --include='meson.build' libfdpass broker tests units examples
}

check includes /usr/bin/python3 tests/checks/includes.py
check sizes /usr/bin/python3 tests/checks/sizes.py
check documents /usr/bin/python3 tests/checks/documents.py
check placeholders placeholders
check plain-text plain_text
check control-characters control_characters
check scripts scripts
check format format
check cppcheck static_analysis
check clang-tidy tidy
# tee's reader may be behind
wait
! grep -q '^not ok' "$COUNTS"
