"""`fdpass exec`: any program gets its listeners the way systemd passes them."""
import json
import os
import socket
import sys

from testing.broker import free_address

SHOW = """
import json, os, socket
fds = range(3, 3 + int(os.environ.get("LISTEN_FDS", 0)))
names = []
for fd in fds:
    s = socket.socket(fileno=os.dup(fd))
    names.append(s.getsockname())
    s.close()
print(json.dumps({
    "fds": os.environ.get("LISTEN_FDS"), "pid": os.environ.get("LISTEN_PID") == str(os.getpid()),
    "names": os.environ.get("LISTEN_FDNAMES"), "addresses": names,
    "inheritable": [os.get_inheritable(fd) for fd in fds],
    "open": sorted(int(f) for f in os.listdir("/proc/self/fd"))}))
"""


def show(broker, *names):
    done = broker.fdpass("exec", *names, "--", sys.executable, "-c", SHOW)
    return json.loads(done.stdout)


def test_a_program_gets_its_listeners_as_systemd_passes_them(broker):
    one, two = free_address(), free_address()
    b = broker(f"[Socket web]\nListenStream={one[0]}:{one[1]}\n"
               f"[Socket api]\nListenStream={two[0]}:{two[1]}\nFileDescriptorName=rpc\n")
    seen = show(b, "web", "api")
    assert seen["fds"] == "2" and seen["pid"] is True and seen["names"] == "web:rpc"
    assert [tuple(a) for a in seen["addresses"]] == [one, two]
    assert seen["inheritable"] == [True, True]
    # 0 1 2, the two, and the one of listdir itself: nothing of ours besides
    assert len(seen["open"]) == 6 and seen["open"][:5] == [0, 1, 2, 3, 4]


def test_the_order_is_that_of_the_command_line(broker):
    one, two = free_address(), free_address()
    b = broker(f"[Socket web]\nListenStream={one[0]}:{one[1]}\n[Socket api]\nListenStream={two[0]}:{two[1]}\n")
    assert show(b, "api", "web")["names"] == "api:web"


def test_the_lease_is_the_program_s(broker, processes):
    b = broker("[Socket web]\nListenStream=%s:%d\n" % free_address())
    process = b.spawn("web", "--", "cat", stdout=-1)
    process.stdin = None
    processes.append(process)
    # `cat` has an empty stdin and ends: its lease is gone with it
    process.wait(10)
    process.stdout.close()
    holder = b.spawn("web", "--", sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)", stdout=-1)
    processes.append(holder)
    assert holder.stdout.readline() == b"up\n"
    assert list(b.leases("web")) == [holder.pid]
    holder.stdout.close()


def test_the_exit_status_is_the_program_s(broker):
    b = broker("[Socket web]\nListenStream=%s:%d\n" % free_address())
    assert b.fdpass("exec", "web", "--", "sh", "-c", "exit 37", check=False).returncode == 37


def test_what_cannot_be_run_is_named(broker):
    b = broker("[Socket web]\nListenStream=%s:%d\n" % free_address())
    missing = b.fdpass("exec", "web", "--", "/nonexistent/program", check=False)
    assert missing.returncode == 127 and "/nonexistent/program" in missing.stderr
    denied = b.fdpass("exec", "web", "--", "/etc/passwd", check=False)
    assert denied.returncode == 126 and "/etc/passwd" in denied.stderr


def test_an_unknown_listener_is_named_and_the_program_not_run(broker, tmp_path):
    b = broker("[Socket web]\nListenStream=%s:%d\n" % free_address())
    mark = tmp_path / "ran"
    done = b.fdpass("exec", "wbe", "--", "touch", mark, check=False)
    assert done.returncode not in (0, 126, 127) and "wbe" in done.stderr and not mark.exists()


def test_without_a_broker_the_message_says_where_it_was_looked_for(broker):
    b = broker("")
    b.stop()
    done = b.fdpass("status", check=False)
    assert done.returncode != 0 and b.control in done.stderr


def test_variables_of_an_outer_activation_do_not_get_through(broker):
    b = broker("[Socket web]\nListenStream=%s:%d\n" % free_address())
    import subprocess
    from testing.broker import FDPASS
    with socket.socket() as stray:
        stray.bind(("127.0.0.1", 0))
        env = b.environment(LISTEN_FDS=1, LISTEN_PID=os.getpid(), LISTEN_FDNAMES="old", LISTEN_PIDFDID=1)
        done = subprocess.run([FDPASS, "exec", "web", "--", "env"], env=env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=True, timeout=30)
    lines = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert lines["LISTEN_FDS"] == "1" and lines["LISTEN_FDNAMES"] == "web" and "LISTEN_PIDFDID" not in lines
