# shellcheck shell=bash
# What fdpass needs to be built, tested and shown, in one place: tests/run.sh and examples/demo.sh
# read this file. Debian's names; names elsewhere are in packages_elsewhere.

# shellcheck disable=SC2034  # read by who sources this file
PACKAGES_BUILD=(
        gcc libc6-dev meson ninja-build pkg-config
        libev-dev libsystemd-dev libsmartcols-dev libjansson-dev libmnl-dev libcap-dev uthash-dev
        scdoc
)
# shellcheck disable=SC2034
PACKAGES_DEMO=(gunicorn wrk curl procps python3 util-linux)
# shellcheck disable=SC2034
PACKAGES_TEST=(
        # unit tests, a second compiler with its fuzzer, C++ for the header test
        check clang libclang-rt-14-dev g++
        # checks of the source and at run time
        clang-format clang-tidy cppcheck shellcheck valgrind libc6-dbg strace
        # end to end, with programs that nobody here wrote
        python3-pytest python3-pytest-xdist gunicorn uvicorn nginx-light haproxy lighttpd nodejs wrk curl
        # a systemd to run under, and the usual tools
        systemd dbus util-linux bsdutils mount iproute2 procps bash-completion man-db
        # the benchmark measures against it
        s6 libs6-dev skalibs-dev
)

packages_have_apt() {
        command -v apt-get >/dev/null && command -v dpkg-query >/dev/null
}

# Print those of the named packages that are not installed.
packages_missing() {
        local p
        for p in "$@"; do
                case $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) in
                installed) ;;
                *) echo "$p" ;;
                esac
        done
}

# What to install where there is no apt.
packages_elsewhere() {
        cat <<'LIST'
  Fedora    gcc meson ninja-build pkgconf libev-devel systemd-devel libsmartcols-devel jansson-devel
            libmnl-devel libcap-devel uthash-devel scdoc
            tests: check-devel clang compiler-rt clang-tools-extra gcc-c++ cppcheck ShellCheck valgrind
            strace libasan libubsan python3-pytest python3-pytest-xdist python3-gunicorn python3-uvicorn
            nginx haproxy lighttpd nodejs wrk curl dbus-daemon iproute procps-ng util-linux-script
  Arch      gcc meson ninja pkgconf libev systemd-libs util-linux-libs jansson libmnl libcap uthash scdoc
            tests: check clang compiler-rt cppcheck shellcheck valgrind strace python-pytest
            python-pytest-xdist gunicorn uvicorn nginx haproxy lighttpd nodejs wrk curl iproute2 procps-ng
  openSUSE  gcc meson ninja pkgconf libev-devel systemd-devel libsmartcols-devel libjansson-devel
            libmnl-devel libcap-devel uthash-devel scdoc
            tests: check-devel clang clang-tools gcc-c++ cppcheck ShellCheck valgrind strace
            python3-pytest python3-pytest-xdist python3-gunicorn python3-uvicorn nginx haproxy lighttpd
            nodejs-default wrk curl dbus-1-daemon iproute2 procps
LIST
}

# A package of a server starts that server when it is installed; here it is only a test's tool. The
# usual way to say so is a policy-rc.d that forbids it, and an administrator's own is left alone.
PACKAGES_POLICY=/usr/sbin/policy-rc.d
packages_policy_begin() {
        [ ! -e "$PACKAGES_POLICY" ] || return 0
        printf '#!/bin/sh\n# fdpass: while its tools are installed\nexit 101\n' >"$PACKAGES_POLICY"
        chmod 755 "$PACKAGES_POLICY"
}
packages_policy_end() {
        if grep -qs '^# fdpass: while' "$PACKAGES_POLICY"; then rm -f "$PACKAGES_POLICY"; fi
}

# Make the named packages present: says what it installs, does nothing when all are there. 1 when it
# cannot, with a sentence on what to do.
packages_install() {
        local missing
        if ! packages_have_apt; then
                echo "This system has no apt, so nothing is installed for you. What is needed:"
                packages_elsewhere
                return 0
        fi
        mapfile -t missing < <(packages_missing "$@")
        if [ ${#missing[@]} -eq 0 ]; then
                echo "packages: all $# are present"
                return 0
        fi
        if [ "$(id -u)" != 0 ]; then
                echo "packages: missing, and only root can install them. Run this, then start again:"
                echo "  sudo apt-get install --no-install-recommends ${missing[*]}"
                return 1
        fi
        echo "packages: installing with apt-get: ${missing[*]}"
        packages_policy_begin
        if ! packages_apt "${missing[@]}"; then
                packages_policy_end
                echo "packages: apt-get could not install them; its messages are above. Is the network there?"
                return 1
        fi
        packages_policy_end
}

packages_apt() {
        export DEBIAN_FRONTEND=noninteractive
        # The lists are fetched only when they are needed: with fresh ones the first try succeeds.
        apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null 2>&1 && return 0
        apt-get update -qq </dev/null && apt-get install -y -qq --no-install-recommends "$@" </dev/null >&2
}
