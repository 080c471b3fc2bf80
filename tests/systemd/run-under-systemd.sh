#!/usr/bin/env bash
# shellcheck disable=SC2015,SC2016,SC2153,SC2317,SC1091
# run-under-systemd.sh - boot a real systemd as PID 1 of a throw-away set of
# namespaces, run one command under it, forward its output and exit status,
# tear everything down.
#
#   run-under-systemd.sh [options] [--unit-dir DIR]... -- COMMAND [ARG...]
#
#   --unit-dir DIR     copy the content of DIR (units, foo.service.d/ drop-ins)
#                      to /etc/systemd/system inside; may be given repeatedly
#   --bind PATH        make host PATH appear inside, writable (repeatable).
#                      $PWD and /tmp are always bound; everything else under /
#                      is a throw-away overlay: reads see the host, writes die
#   --rootfs DIR       boot from DIR (for example a debootstrap'ed newer
#                      release) in place of /; it too stays unmodified
#   --share-net        keep the caller's network namespace (default: a fresh
#                      one with only lo, so ports never collide)
#   --timeout SEC      hard limit for COMMAND             (default 300)
#   --boot-timeout SEC hard limit for the boot            (default 30)
#   --stop-timeout SEC grace for an orderly shutdown      (default 5)
#   --journal FILE     save the whole journal to FILE before tearing down
#   --console FILE     save PID 1's console to FILE
#   --log-level LEVEL  PID 1's log level                  (default info)
#   --verbose          say how long boot, command and teardown took (stderr)
#
# Exit status: COMMAND's own; 124 when COMMAND hit --timeout; 125 when the
# machine could not be set up or did not boot; 128+n when this script was
# interrupted by signal n.
#
# Needs: root; Linux with pid, mount, cgroup, ipc, uts, net namespaces,
# overlayfs and a cgroup2 hierarchy mounted somewhere (hybrid v1+v2 is fine).
# Debian packages: systemd (>= 246), util-linux, bsdutils, coreutils,
# findutils, bash, mount, mawk; optional: dbus (for systemd-run --wait/--pipe).
# This keeps tests apart; it is no security boundary (COMMAND is real root).
set -u -o pipefail
caller_lc_all=${LC_ALL-unset} caller_umask=$(umask)
export LC_ALL=C
umask 022

me=run-under-systemd
# Root inside, PID 1 and COMMAND alike, must not set the clock (it is the
# host's!), load modules or touch hardware.
DROP=-sys_time,-wake_alarm,-sys_module,-sys_rawio
say() { printf '%s: %s\n' "$me" "$*" >&2; }

# --------------------------------------------------------------------------
# Stage 2: we are PID 1 of the new PID namespace, about to become systemd.
# Everything here happens in a private mount namespace.
# --------------------------------------------------------------------------
if [ "${1-}" = --stage2 ]; then
    set -e
    rd=$2
    . "$rd/conf"
    if [ "${3-}" != in-cgroup ]; then
        # Only PID 1 may sit in the new cgroup root: systemd cannot move
        # processes of an outer PID namespace out of its way.
        echo 0 >"$CGROUP/cgroup.procs"
        exec unshare --cgroup -- "$BASH" "$0" --stage2 "$rd" in-cgroup
    fi
    # The old /proc still belongs to the outer PID namespace, so it tells us
    # our outer pid; 'read' is a builtin, hence no fork and "self" is us.
    read -r outer_pid _ </proc/self/stat
    echo "$outer_pid" >"$rd/init.pid"
    console=$(readlink /proc/self/fd/0)

    mount -t tmpfs -o mode=755 tmpfs "$rd/ns"
    mkdir "$rd"/ns/{upper,work,root}
    n=$rd/ns/root
    mount -t overlay -o "lowerdir=$ROOTFS,upperdir=$rd/ns/upper,workdir=$rd/ns/work" overlay "$n"
    mkdir -p "$n"/{proc,sys,dev,run,tmp,etc/systemd}

    mount -t proc -o nosuid,nodev,noexec proc "$n/proc"
    # Host-wide kernel knobs read-only; PID 1 would bump fs.nr_open otherwise.
    mount --bind "$n/proc/sys" "$n/proc/sys"
    mount -o remount,bind,ro,nosuid,nodev,noexec "$n/proc/sys"
    if [ "$SHARE_NET" = 0 ]; then
        mount --bind /proc/sys/net "$n/proc/sys/net" 2>/dev/null || :
    fi
    if [ -e "$n/proc/sysrq-trigger" ]; then
        mount --bind "$n/proc/sysrq-trigger" "$n/proc/sysrq-trigger"
        mount -o remount,bind,ro,nosuid,nodev,noexec "$n/proc/sysrq-trigger"
    fi

    mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$n/sys"
    # A second mount of the one cgroup2 hierarchy; thanks to the cgroup
    # namespace its root is our own sub-tree.  No v1 hierarchy is mounted in
    # here, so systemd finds a pure "unified" machine.
    mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$n/sys/fs/cgroup"

    mount -t tmpfs -o mode=755,nosuid tmpfs "$n/dev"
    mkdir "$n"/dev/{pts,shm,mqueue}
    for spec in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
        IFS=: read -r name maj min <<<"$spec"
        mknod -m 666 "$n/dev/$name" c "$maj" "$min"
    done
    if [ -c /dev/net/tun ]; then
        mkdir "$n/dev/net"; mknod -m 666 "$n/dev/net/tun" c 10 200
    fi
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5,nosuid,noexec devpts "$n/dev/pts"
    ln -s pts/ptmx "$n/dev/ptmx"
    ln -s /proc/self/fd "$n/dev/fd"
    ln -s fd/0 "$n/dev/stdin"; ln -s fd/1 "$n/dev/stdout"; ln -s fd/2 "$n/dev/stderr"
    mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$n/dev/shm"
    mount -t mqueue -o nosuid,nodev,noexec mqueue "$n/dev/mqueue"
    : >"$n/dev/console"
    mount --bind "$console" "$n/dev/console"

    mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$n/run"
    mkdir -p "$n"/run/{lock,run-under}
    mount --bind "$rd/share" "$n/run/run-under"

    # Binds: a path inside another bound one needs no mount of its own.
    while IFS= read -r p; do
        [ -n "$p" ] && [ "$p" != / ] || continue
        if [ -d "$p" ]; then mkdir -p "$n$p"
        else mkdir -p "$n$(dirname "$p")"; [ -e "$n$p" ] || : >"$n$p"; fi
        mount --bind "$p" "$n$p"
    done <"$rd/binds"
    # Never expose our own build site (it holds the new root itself).
    [ ! -d "$n$rd/ns" ] || mount -t tmpfs -o size=4k,mode=000 tmpfs "$n$rd/ns"

    # Only a minimal, hand-picked part of the distribution's units is left
    # visible: no timers, no tmpfiles cleaning of the bound /tmp, no sysctl, no
    # time sync, no host daemons.  No generators either.
    vu=$n/usr/lib/systemd/system
    mkdir "$rd/ns/units"
    (
        cd "$vu"
        shopt -s nullglob
        for f in *.target *.slice \
            systemd-journald.service systemd-journald.socket \
            systemd-journald-dev-log.socket systemd-journald@.service \
            systemd-journald@.socket systemd-journald-varlink@.socket \
            systemd-exit.service systemd-poweroff.service \
            systemd-halt.service systemd-reboot.service; do
            if [ -e "$f" ] || [ -L "$f" ]; then cp -a "$f" "$rd/ns/units/"; fi
        done
        if [ -x "$n/usr/bin/dbus-daemon" ]; then
            for f in dbus.service dbus.socket; do
                if [ -e "$f" ]; then cp -a "$f" "$rd/ns/units/"; fi
            done
        fi
    )
    mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$vu"
    cp -a "$rd/ns/units/." "$vu/"
    ln -sf multi-user.target "$vu/default.target"
    mkdir "$vu"/{sysinit,sockets,multi-user}.target.wants
    ln -s ../systemd-journald.service "$vu/sysinit.target.wants/"
    for f in systemd-journald.socket systemd-journald-dev-log.socket dbus.socket; do
        if [ -e "$vu/$f" ]; then ln -s "../$f" "$vu/sockets.target.wants/"; fi
    done
    printf '%s\n' '[Unit]' 'Description=Tell run-under-systemd that the boot is done' \
        'DefaultDependencies=no' 'After=basic.target sockets.target' \
        '[Service]' 'Type=oneshot' 'RemainAfterExit=yes' \
        'ExecStart=/bin/sh -c ": >/run/run-under/ready"' \
        >"$vu/run-under-ready.service"
    ln -s ../run-under-ready.service "$vu/multi-user.target.wants/"
    for d in "$n"/usr/lib/systemd/system-generators "$n"/usr/local/lib/systemd \
             "$n"/etc/systemd/system-generators "$n"/etc/systemd/system.control \
             "$n"/etc/systemd/system.conf.d "$n"/etc/systemd/system; do
        if [ -d "$d" ] || [ "$d" = "$n/etc/systemd/system" ]; then
            mkdir -p "$d"
            mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$d"
        fi
    done
    : >"$n/etc/fstab"
    [ -s "$n/etc/machine-id" ] || tr -d - </proc/sys/kernel/random/uuid >"$n/etc/machine-id"
    mkdir -p "$n/etc/systemd/journald.conf.d"
    printf '%s\n' '[Journal]' Storage=volatile ReadKMsg=no Audit=no ForwardToSyslog=no \
        ForwardToConsole=no ForwardToWall=no RateLimitIntervalSec=0 RuntimeMaxUse=64M \
        >"$n/etc/systemd/journald.conf.d/zz-run-under.conf"
    # Symlinks are kept, so DIR may hold foo.target.wants/ and the like.
    cp -a --no-preserve=ownership "$rd/unitdir/." "$n/etc/systemd/system/"
    chown -R 0:0 "$n/etc/systemd/system"

    cd "$n"
    mkdir -p "$n/run/.old"
    pivot_root . run/.old
    umount -l /run/.old
    rmdir /run/.old
    cd /
    init=/usr/lib/systemd/systemd
    exec setpriv --bounding-set "$DROP" --inh-caps "$DROP" \
        env -i container=run-under PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        TERM=dumb "$init" --system --show-status=false --log-level="$LOG_LEVEL"
fi

# --------------------------------------------------------------------------
# Stage 1
# --------------------------------------------------------------------------
unit_dirs=() binds=() rootfs=/ share_net=0 t_cmd=300 t_boot=30 t_stop=5
journal='' console_out='' verbose=0 log_level=info
usage() { sed -n '3,/^set -u/{/^set -u/d;s/^# \{0,1\}//;p}' "$0"; }
while [ $# -gt 0 ]; do
    case $1 in
    --unit-dir)     unit_dirs+=("$(realpath -e -- "$2")") || exit 125; shift 2 ;;
    --bind)         binds+=("$(realpath -e -- "$2")") || exit 125; shift 2 ;;
    --rootfs)       rootfs=$(realpath -e -- "$2") || exit 125; shift 2 ;;
    --share-net)    share_net=1; shift ;;
    --timeout)      t_cmd=$2; shift 2 ;;
    --boot-timeout) t_boot=$2; shift 2 ;;
    --stop-timeout) t_stop=$2; shift 2 ;;
    --journal)      journal=$(realpath -m -- "$2"); shift 2 ;;
    --console)      console_out=$(realpath -m -- "$2"); shift 2 ;;
    --log-level)    log_level=$2; shift 2 ;;
    --verbose)      verbose=1; shift ;;
    -h|--help)      usage; exit 0 ;;
    --)             shift; break ;;
    *)              say "unknown option $1"; exit 125 ;;
    esac
done
[ $# -gt 0 ] || { say "no COMMAND given"; exit 125; }
[ "$(id -u)" = 0 ] || { say "must be root"; exit 125; }
for t in unshare nsenter setpriv script mount pivot_root timeout flock; do
    command -v "$t" >/dev/null || { say "missing tool: $t"; exit 125; }
done
[ -x "$rootfs/usr/lib/systemd/systemd" ] || { say "no systemd in $rootfs"; exit 125; }
now() { local t=$EPOCHREALTIME; echo $(( ${t%.*} * 1000 + 10#${t#*.} / 1000 )); }

# The place of cgroup2 and of our own node in it.
cg_mnt=$(awk '{for(i=7;i<=NF;i++) if($i=="-"){ if($(i+1)=="cgroup2"){print $5; exit}; break}}' /proc/self/mountinfo)
[ -n "$cg_mnt" ] || { say "no cgroup2 hierarchy is mounted"; exit 125; }
cg_self=$(sed -n 's/^0:://p' /proc/self/cgroup)
cg_base=$cg_mnt${cg_self%/}
[ -d "$cg_base" ] || cg_base=$cg_mnt

# Sweep up after earlier runs that were killed so hard that they could not.
drop_cgroup() {
    local i
    [ -d "$1" ] || return 0
    echo 1 2>/dev/null >"$1/cgroup.kill" || :
    for i in $(seq 100); do
        find "$1" -depth -type d -exec rmdir {} + 2>/dev/null
        [ -d "$1" ] || return 0
        sleep 0.02
    done
    return 1
}
base=${TMPDIR:-/tmp}
exec 8>>"$base/.$me.lock"; flock 8
for old in "$base/$me".*; do
    [ -d "$old" ] && [ ! -L "$old" ] && [ -O "$old" ] && [ -e "$old/lock" ] || continue
    if (flock -n 9) 9<"$old/lock"; then
        [ ! -s "$old/cgroup" ] || drop_cgroup "$(cat "$old/cgroup")"
        rm -rf --one-file-system -- "$old"
    fi
done
rd=$(mktemp -d "$base/$me.XXXXXX") || exit 125
rd=$(realpath "$rd")
: >"$rd/lock"; exec 9<"$rd/lock"; flock -n 9
flock -u 8; exec 8>&-
cg=$cg_base/$me-${rd##*.}
echo "$cg" >"$rd/cgroup"

boot_pid='' init_pid='' cmd_pid=''
alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }
cleanup() {
    local t0 i k
    trap '' INT TERM HUP
    t0=$(now)
    # No grace for what COMMAND may have left behind in its own scope.
    k=$cg/system.slice/run-under-command.scope/cgroup.kill
    if [ -e "$k" ]; then echo 1 2>/dev/null >"$k" || :; fi
    if [ -n "$init_pid" ] && alive "$boot_pid"; then
        # SIGRTMIN+4 is systemd's orderly poweroff; it stops every unit first.
        kill -s RTMIN+4 "$init_pid" 2>/dev/null
        for (( i = 0; i < t_stop * 50; i++ )); do alive "$init_pid" || break; sleep 0.02; done
        alive "$init_pid" && { say "orderly shutdown took over ${t_stop} s; killing"; kill -KILL "$init_pid"; }
    fi
    if alive "$boot_pid"; then
        [ -n "$init_pid" ] || kill -KILL "$boot_pid" 2>/dev/null
        wait "$boot_pid" 2>/dev/null
    fi
    [ -z "$cmd_pid" ] || wait "$cmd_pid" 2>/dev/null
    drop_cgroup "$cg" || say "could not remove cgroup $cg"
    [ -z "$console_out" ] || cp -- "$rd/console.log" "$console_out" 2>/dev/null
    rm -rf --one-file-system -- "$rd"
    [ "$verbose" = 0 ] || say "teardown $(( $(now) - t0 )) ms"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

t0=$(now)
mkdir "$rd"/{ns,share,unitdir} && mkdir "$cg" || exit 125
for d in ${unit_dirs[@]+"${unit_dirs[@]}"}; do
    cp -a -- "$d/." "$rd/unitdir/" || exit 125
done
{ printf '%s\n' "$base" "$PWD"; [ "$base" = /tmp ] || echo /tmp
  for d in ${binds[@]+"${binds[@]}"}; do printf '%s\n' "$d"; done; } |
    xargs -d '\n' -n1 realpath -e | sort -u |
    awk 'last == "" || index($0 "/", last "/") != 1 { print; last = $0 }' >"$rd/binds" || exit 125
printf 'ROOTFS=%q\nSHARE_NET=%q\nLOG_LEVEL=%q\nCGROUP=%q\n' \
    "$rootfs" "$share_net" "$log_level" "$cg" >"$rd/conf"

net=(--net); [ "$share_net" = 0 ] || net=()
# Each link of the chain dies with its parent, so that even SIGKILL of this
# script takes the whole machine down.
printf -v inner '%q ' setpriv --pdeathsig KILL \
    unshare --mount --propagation private --pid --fork --kill-child --ipc --uts \
    ${net[@]+"${net[@]}"} -- "$BASH" "$(realpath "$0")" --stage2 "$rd"
(
    exec setpriv --pdeathsig KILL script -q -e -f -c "exec $inner" "$rd/console.log" </dev/null >/dev/null 2>&1
) &
boot_pid=$!

deadline=$(( t0 + t_boot * 1000 ))
# (A marker file, not a FIFO: bash's "read -t" may eat a byte as it times out.)
until [ -e "$rd/share/ready" ] || ! alive "$boot_pid" || [ "$(now)" -ge "$deadline" ]; do
    sleep 0.02
done
[ ! -s "$rd/init.pid" ] || init_pid=$(cat "$rd/init.pid")
if [ ! -e "$rd/share/ready" ]; then
    say "systemd did not come up within ${t_boot} s; its console:"
    cat "$rd/console.log" >&2
    exit 125
fi
t1=$(now)
[ "$verbose" = 0 ] || say "boot $(( t1 - t0 )) ms"

enter() {
    # init.scope is always a leaf, whatever controllers are enabled above it.
    echo "$BASHPID" >"$cg/init.scope/cgroup.procs"
    # An asynchronous job of a script starts with SIGINT and SIGQUIT ignored.
    exec env --default-signal=INT --default-signal=QUIT \
        setpriv --pdeathsig KILL --bounding-set "$DROP" --inh-caps "$DROP" \
        nsenter --target "$init_pid" --mount --uts --ipc --net --pid --cgroup -- "$@"
}
unset XDG_RUNTIME_DIR DBUS_SESSION_BUS_ADDRESS DBUS_SYSTEM_BUS_ADDRESS NOTIFY_SOCKET \
      LISTEN_FDS LISTEN_PID LISTEN_FDNAMES WATCHDOG_USEC WATCHDOG_PID JOURNAL_STREAM INVOCATION_ID
export RUN_UNDER_SYSTEMD=1 SYSTEMD_PAGER=cat
if [ "$caller_lc_all" = unset ]; then unset LC_ALL; else LC_ALL=$caller_lc_all; fi
# timeout(1) runs inside, so that nsenter always lives to reap its child: an
# orphan of nsenter falls to the outer PID 1, and until that one reaps it the
# inner PID 1 cannot finish exiting.
exec 6<&0
( umask "$caller_umask"
  enter /bin/sh -c '
      cd "$1" || exit 125
      t=$2; shift 2
      command -v -- "$1" >/dev/null || { echo "run-under-systemd: $1: not found" >&2; exit 127; }
      exec timeout --foreground --kill-after=2 "$t" \
          systemd-run --scope --quiet --collect --unit=run-under-command -- "$@"' \
      sh "$PWD" "$t_cmd" "$@" <&6 6<&- 9<&-
) &
cmd_pid=$!
LC_ALL=C
wait "$cmd_pid"; rc=$?
cmd_pid=
t2=$(now)
[ "$verbose" = 0 ] || say "command $(( t2 - t1 )) ms, status $rc"
# timeout(1) says 137 when it had to use SIGKILL.
if [ "$rc" = 124 ] || { [ "$rc" = 137 ] && [ $(( t2 - t1 )) -ge $(( t_cmd * 1000 )) ]; }; then
    say "COMMAND hit the limit of $t_cmd s"; rc=124
fi
if [ -n "$journal" ] && alive "$init_pid"; then
    ( enter journalctl --no-pager --quiet -o short-monotonic 9<&- ) >"$journal" 2>&1 </dev/null
fi
exit "$rc"
