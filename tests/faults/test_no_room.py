"""
There is no memory, or no room, for the state document: serving goes on, that is said once, and what could not be
written is written when there is room again.
"""
import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import time

import pytest

from testing.broker import DEADLINE, free_address

needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
CANNOT = "the state document cannot be written"
AGAIN = "the state document is written again"


def section(name, address):
    return "[Socket %s]\nListenStream=%s:%d\n" % (name, *address)


def wait_log(b, text, count=1):
    deadline = time.monotonic() + DEADLINE
    while b.log().count(text) < count:
        assert time.monotonic() < deadline, f"never logged: {text}\n{b.log()}"
        time.sleep(0.01)


def document_size(pid):
    folder = f"/proc/{pid}/fd"
    for fd in os.listdir(folder):
        if os.readlink(f"{folder}/{fd}").startswith("/memfd:fdpass-state"):
            return os.stat(f"{folder}/{fd}").st_size
    raise AssertionError("no state document")


@contextlib.contextmanager
def limited(pid):
    """As ulimit -f does: the document cannot grow. Else SIGXFSZ would be the end."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (document_size(pid), before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def injected(pid, error):
    tracer = subprocess.Popen(["strace", "-o", "/dev/null", "-e", f"inject=fallocate,pwrite64:error={error}",
                               "-p", str(pid)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        assert b"attached" in tracer.stderr.readline()
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(DEADLINE)
        tracer.stderr.close()


WAYS = {
    "RLIMIT_FSIZE": limited,
    "ENOSPC": lambda pid: injected(pid, "ENOSPC"),
    "ENOMEM": lambda pid: injected(pid, "ENOMEM"),
}
ways = pytest.mark.parametrize("no_room", [
    pytest.param(way, id=name, marks=[] if name == "RLIMIT_FSIZE" else needs_strace) for name, way in WAYS.items()])


class Scene:
    """A holder that writes on the document until there is no room, and goes on."""

    def __init__(self, broker):
        self.first, self.second = free_address(), free_address()
        self.b = broker(section("web", self.first))
        self.inode = self.b.inode("web")
        self.pid = self.b.broker_pid
        self.client = self.b.client()

    def fill(self):
        for _ in range(DEADLINE * 100):
            self.client.acquire("web").close()
            if CANNOT in self.b.log():
                return
            assert self.client.request("RELEASE", NAME="web").ok
        raise AssertionError("there is always room")

    def store(self):
        read_end, write_end = os.pipe()
        try:
            assert self.client.request("HELLO")["STORE"] == "1"
            return self.client.request("STORE", [read_end], NAME="shop")
        finally:
            os.close(read_end)
            os.close(write_end)

    def serve(self):
        """Everything that needs no promise about the next life."""
        for _ in range(20):
            assert self.client.request("NOTIFY", STATUS="busy").ok
            assert self.client.request("RELEASE", NAME="web").ok
            self.client.acquire("web").close()
        self.b.write_config(section("web", self.first) + section("late", self.second))
        self.b.fdpass("apply")
        socket.create_connection(self.second).close()
        refused = self.store()
        assert refused.first == "ERROR=ENOSPC", refused
        assert self.client.request("TAKE", NAME="shop").first == "ERROR=ENOENT"
        assert self.b.log().count(CANNOT) == 1, self.b.log()
        assert "cannot be remembered" not in self.b.log() and "cannot be stored" not in self.b.log()

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        self.client.close()
        self.client = self.b.client()


@pytest.fixture
def scene(broker):
    one = Scene(broker)
    yield one
    one.client.close()


@ways
def test_without_room_it_serves_on_and_catches_up(scene, no_room):
    with no_room(scene.pid):
        scene.fill()
        scene.serve()
    wait_log(scene.b, AGAIN)
    assert scene.store().ok
    late = scene.b.inode("late")
    assert scene.b.log().count(CANNOT) == scene.b.log().count(AGAIN) == 1
    scene.kill()
    assert scene.b.inode("web") == scene.inode and scene.b.inode("late") == late
    lease, = scene.b.leases("web").values()
    assert (lease["pid"], lease["status"]) == (os.getpid(), "busy")
    assert len(scene.client.request("STORED").document()["stored"]) == 1
    assert "found again by their address" not in scene.b.log()


@ways
def test_killed_without_room_no_socket_is_lost(scene, no_room):
    with no_room(scene.pid):
        scene.fill()
        scene.serve()
        with scene.client.acquire("late") as listener:
            late = os.fstat(listener.fileno()).st_ino
        scene.kill()
        assert scene.b.inode("web") == scene.inode
    assert scene.b.inode("late") == late, scene.b.log()
    assert AGAIN not in scene.b.log()
    scene.client.acquire("late").close()
    assert scene.store().ok


@needs_strace
@pytest.mark.parametrize("calls", ["memfd_create", "fallocate", "memfd_create,fallocate,pwrite64"])
def test_a_first_start_without_room_serves_and_keeps_everything_later(broker, calls):
    b = broker(section("web", free_address()), wrapper=["strace", "-I1", "-D", "-f", "-o", "/dev/null", "-e",
                                                      f"inject={calls}:error=ENOMEM"])
    inode = b.inode("web") if calls == "fallocate" else None  # the status needs a memfd
    with b.client() as client:
        client.acquire("web").close()
    assert b.log().count(CANNOT) == 1, b.log()
    with open(f"/proc/{b.pid}/status", encoding="ascii") as file:
        tracer = int(next(line for line in file if line.startswith("TracerPid")).split()[1])
    os.kill(tracer, signal.SIGTERM)
    wait_log(b, AGAIN)
    inode = inode or b.inode("web")
    os.kill(b.broker_pid, signal.SIGKILL)
    assert b.inode("web") == inode and b.leases("web"), b.log()
