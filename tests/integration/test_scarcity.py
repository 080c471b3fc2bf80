"""Too few descriptors, a full disk, a log that nobody reads: less is done, and it is said; nothing ends."""
import os
import select
import signal

import subprocess
import sys

import pytest

from testing.broker import StartFailed, free_address


def sockets(count, first="s"):
    return "".join("[Socket %s%d]\nListenStream=%s:%d\n" % (first, i, *free_address()) for i in range(count))


def test_out_of_descriptors_the_broker_serves_whom_it_has_and_others_later(broker):
    b = broker(sockets(1), nofile=200, arguments=["--log-level", "debug"])
    assert "RLIMIT_NOFILE is 200;" in b.log(), "the lowered limits are not told"
    clients = []
    refused = 0
    for _ in range(400):
        try:
            client = b.client(timeout=2)
        except OSError:
            refused += 1
            continue
        try:
            if not client.request("HELLO").ok:
                raise OSError("at the limit")
            clients.append(client)
        except (OSError, AssertionError):
            refused += 1
            client.close()
            if refused > 3:
                break
    assert refused and 20 < len(clients) < 200
    # those that are in are served, descriptors and all
    with clients[0].acquire("s0"):
        pass
    for client in clients:
        client.close()
    with b.client() as client:
        assert client.request("HELLO").ok


def test_sessions_that_wait_for_a_descriptor_are_accepted_when_one_is_free(broker):
    b = broker(sockets(1), nofile=200)
    clients = [b.client(timeout=20) for _ in range(60)]
    for client in clients:
        client.send("HELLO")
    served = 0
    while clients:
        readable, _, _ = select.select([c.socket for c in clients], [], [], 20)
        assert readable, f"{len(clients)} clients are never served, after {served} that were"
        for client in [c for c in clients if c.socket in readable]:
            answer = client.receive()
            served += bool(answer and answer.ok)
            client.close()
            clients.remove(client)
    assert served == 60
    with b.client() as client:
        assert client.request("HELLO").ok


def test_more_listeners_than_descriptors_is_a_sentence(broker):
    with pytest.raises(StartFailed) as failed:
        broker(sockets(150), nofile=128)
    assert failed.value.status in (1, 3), failed.value
    assert "128" in failed.value.log or "RLIMIT_NOFILE" in failed.value.log or "imit" in failed.value.log


def test_an_apply_beyond_the_limit_changes_nothing(broker):
    b = broker(sockets(2), nofile=256)
    names = {l["name"] for l in b.status()["listeners"]}
    with open(b.config_path, "a", encoding="utf-8") as file:
        file.write(sockets(300, "more"))
    assert b.fdpass("apply", check=False).returncode != 0
    assert {l["name"] for l in b.status()["listeners"]} == names
    pids = b.pids()
    with b.client() as client:  # the sessions before it are closed when it is answered
        assert client.request("HELLO").ok
        before = [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]
        for _ in range(3):
            assert client.request("APPLY")["ERROR"] == "EINVAL"
        assert client.request("HELLO").ok  # what was sent with an answer is closed behind it
        for pid, count in zip(pids, before):
            assert len(os.listdir(f"/proc/{pid}/fd")) <= count


def test_a_log_that_nobody_reads_holds_up_nothing(broker):
    """stderr is a pipe, full to the brim."""
    read_end, write_end = os.pipe()
    try:
        os.set_blocking(write_end, False)
        try:
            while True:
                os.write(write_end, b"x" * 4096)
        except BlockingIOError:
            pass
        # The flag is of the description, so it is the broker's too: it must be blocking for the test
        # to mean something.
        os.set_blocking(write_end, True)
        b = broker("[Socket web]\nListenStream=%s:%d\n" % free_address(), stderr=write_end,
                   arguments=["--log-level", "debug"])
        for _ in range(200):
            with b.client() as client:
                client.send_bytes(b"garbage that is logged")
        with b.client() as client:
            client.acquire("web").close()
        b.reload()
        b.stop()
    finally:
        os.close(read_end)
        os.close(write_end)


def test_a_log_whose_reader_is_gone_holds_up_nothing(broker):
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        b = broker("[Socket web]\nListenStream=%s:%d\n" % free_address(), stderr=write_end)
        with b.client() as client:
            client.acquire("web").close()
    finally:
        os.close(write_end)


FULL_DISK = r"""
import os, socket, subprocess, sys
folder = sys.argv[1]
sys.path.insert(0, sys.argv[2])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=14,mode=755", "tmpfs", folder], check=True)
from testing.broker import Broker, free_address
first, second = free_address(), free_address()
path = os.path.join(folder, "app.sock")
b = Broker("[Socket web]\nListenStream=%s:%d\n[Socket app]\nListenStream=%s\n" % (*first, path), folder=folder)
filler = open(os.path.join(folder, "filler"), "wb", buffering=0)
try:
    while True:
        filler.write(b"x" * 4096)
except OSError:
    pass
made = 0
try:
    while made < 100:
        open(os.path.join(folder, "inode%d" % made), "x").close()
        made += 1
except OSError:
    pass
with b.client() as client, client.acquire("web"), client.acquire("app"):
    pass
assert b.status()["listeners"], "no status: its document must not need a disk"
late = os.path.join(folder, "late.sock")
text = "[Broker]\nControlSocket=%s\n[Socket web]\nListenStream=%s:%d\n[Socket app]\nListenStream=%s\n[Socket late]\nListenStream=%s\n"
config = os.path.join("/dev/shm", "fdpass-full-%d.conf" % os.getpid())
filler.truncate(0)
b.write_config(text % (b.control, *first, path, late))
try:
    while True:
        filler.write(b"x" * 4096)
except OSError:
    pass
done = b.fdpass("apply", check=False)
said = done.stdout + done.stderr
assert done.returncode != 0 and late in said and "space" in said, (done.returncode, said)
assert {l["name"] for l in b.status()["listeners"]} == {"web", "app"}
b.stop()
print("held")
"""


@pytest.mark.root
def test_a_full_disk_fails_what_needs_it_and_nothing_else(tmp_path):
    """A tiny file system of its own, in a mount namespace of its own."""
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = subprocess.run(["unshare", "--mount", "--", sys.executable, "-B", "-c", FULL_DISK, tmp_path, tests],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    if "unshare failed" in done.stderr or "mount(2)" in done.stderr:
        pytest.skip("this container may not mount")
    assert done.stdout.strip() == "held", done.stderr


def test_standard_streams_that_are_closed(broker):
    """Started with 0, 1 and 2 closed, the first socket must not become "stderr"."""
    b = broker("[Socket web]\nListenStream=%s:%d\n" % free_address(),
               wrapper=["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"])
    with b.client() as client, client.acquire("web") as listener:
        assert listener.getsockname()
    for pid in b.pids():
        for fd in (0, 1, 2):
            assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null"


@pytest.mark.alone
def test_many_stops_are_quick(broker):
    """Ending waits for no peer, whatever it is doing."""
    import time
    b = broker("[Socket web]\nListenStream=%s:%d\n" % free_address())
    silent = [b.client() for _ in range(20)]
    for client in silent:
        client.send("STATUS")
    begin = time.monotonic()
    b.kill(signal.SIGTERM)
    assert time.monotonic() - begin < 10  # whom it waits for stays for ever
    assert b.process.returncode == 0
    for client in silent:
        client.close()


def test_the_watchdog_and_ready_reach_the_manager_without_blocking(broker):
    """WATCHDOG_USEC is honoured; a manager that does not read cannot hold the broker up."""
    b = broker("[Socket web]\nListenStream=%s:%d\n" % free_address(), env={"WATCHDOG_USEC": "400000"})
    b.wait_notify("WATCHDOG=1")
    b.wait_notify("WATCHDOG=1")
    # nobody reads any more; the queue of a datagram socket holds few
    with b.client() as client:
        for _ in range(30):
            os.kill(b.pid, signal.SIGHUP)
            assert client.request("HELLO").ok


def test_a_notify_socket_that_is_gone_is_no_reason_to_end(broker):
    b = broker("[Socket web]\nListenStream=%s:%d\n" % free_address())
    os.unlink(os.path.join(b.folder, "notify.sock"))
    os.kill(b.pid, signal.SIGHUP)
    with b.client() as client:
        assert client.request("HELLO").ok


def test_with_few_descriptors_to_spare_all_listeners_are_kept(broker):
    """What waits to be stored takes descriptors too: they may not run out over it."""
    b = broker(sockets(2100), nofile=3000)
    for victim in (0, 1, 0):
        before = {listener["name"]: listener["sockets"][0]["inode"] for listener in b.status()["listeners"]}
        os.kill(b.pids()[victim], signal.SIGKILL)
        poll = select.poll()
        for _ in range(1000):
            if victim == 0 or "a new keeper has" in b.log():
                break
            poll.poll(10)
        # a broker that is away is waited for: the control socket is kept
        after = {listener["name"]: listener["sockets"][0]["inode"] for listener in b.status()["listeners"]}
        assert after == before
    assert "cannot be stored" not in b.log()
    b.kill()
