"""Processes, ours and others': whether they live, what they have open, their end."""
import os
import select
import signal
import time

from .broker import DEADLINE, children_of, is_worker, program_of

#: For `python3 -c`: serves on descriptor 3 whoever asks, one after the other; says "up" before.
SERVER = """
import socket
s = socket.socket(fileno=3)
print("up", flush=True)
while True:
    c, _ = s.accept()
    with c:
        c.recv(4096)
        c.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nok\\n")
"""


def until(condition, what, deadline=DEADLINE):
    """Wait for it, bounded; what it gives. `what`: the words for the failure, or a function that gives them."""
    end_of_it = time.monotonic() + deadline
    while not (found := condition()):
        assert time.monotonic() < end_of_it, f"waited in vain: {what() if callable(what) else what}"
        time.sleep(0.01)
    return found


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def end(pid, number=signal.SIGKILL):
    """Send it and wait until the process has ended; whoever's child it is collects it."""
    fd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(fd, number)
        assert select.select([fd], [], [], DEADLINE)[0], f"{pid} does not end"
    finally:
        os.close(fd)


def seconds_to_end(pid, action):
    """From the action on; nothing is done meanwhile that a busy machine has no time for. 0: it had ended already."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return 0
    try:
        begin = time.monotonic()
        action()
        assert select.select([fd], [], [], DEADLINE)[0], f"{pid} does not end"
        return time.monotonic() - begin
    finally:
        os.close(fd)


def reap(*pids):
    """Those that ended and are our children: by fixture subreaper, or because we started them."""
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except (ChildProcessError, TypeError):
            pass


def open_fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def fds_at_rest(pid):
    """
    How many it has open, without those of sessions and children that come and go, an idle worker among them. It has a
    pidfd of each that was killed until that has died, which where all is busy can be longer than what is looked for.
    """
    fewest, since = open_fds(pid), time.monotonic()
    end_of_it = since + DEADLINE
    while time.monotonic() < min(since + 0.7, end_of_it):
        time.sleep(0.005)
        found = open_fds(pid)
        if found < fewest or any(is_worker(child) or not program_of(child) for child in children_of(pid)):
            fewest, since = min(found, fewest), time.monotonic()
    return fewest


def wake_ups(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches:"))


def resident(pid):
    """In KiB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))


def memfd_of(pid, name):
    """The path at which the test may open it, too."""
    for fd in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{fd}"
        if os.readlink(path).startswith(f"/memfd:{name}"):
            return path
    raise AssertionError(f"{pid} has no {name}")


def cgroup_root():
    """Our own one, in which those of components are; None when there is none."""
    with open("/proc/self/cgroup", encoding="ascii") as file:
        path = next((line.strip()[3:] for line in file if line.startswith("0::/")), None)
    with open("/proc/self/mounts", encoding="utf-8") as file:
        mount = next((line.split()[1] for line in file if line.split()[2] == "cgroup2"), None)
    return mount + path if mount and path else None


def cgroups(component):
    """Of a component, below our own one."""
    try:
        return [name for name in os.listdir(cgroup_root()) if name.startswith(f"fdpass-{component}-")]
    except (OSError, TypeError):
        return []


def remove_cgroups(names):
    """Those that are still there and empty."""
    for name in names:
        try:
            os.rmdir(os.path.join(cgroup_root(), name))
        except OSError:
            pass
