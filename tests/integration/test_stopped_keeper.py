"""A keeper that does not read (stopped, starved): what promises its help waits and nothing else does."""
import contextlib
import os
import signal
import subprocess
import time

import pytest

from testing.broker import DEADLINE, FDPASS, end_both, free_address
from testing.process import until

LATE = "the keeper has not acknowledged for 1 s"
AGAIN = "the keeper acknowledges again"


def sections(count, first="s"):
    return "".join("[Socket %s%d]\nListenStream=%s:%d\n" % (first, i, *free_address()) for i in range(count))


def wait_log(b, text, count=1):
    deadline = time.monotonic() + DEADLINE
    while b.log().count(text) < count:
        assert time.monotonic() < deadline, f"never logged: {text}\n{b.log()}"
        time.sleep(0.01)


@contextlib.contextmanager
def stopped(keeper):
    os.kill(keeper, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(keeper, signal.SIGCONT)


def start_apply(b):
    return subprocess.Popen([FDPASS, "apply"], env=b.environment(), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process):
    out = process.communicate(timeout=DEADLINE)[0].decode()
    assert process.returncode == 0, out


def inodes(b):
    return {listener["name"]: listener["sockets"][0]["inode"] for listener in b.status()["listeners"]}


def test_apply_is_answered_when_the_new_listener_is_kept(broker, processes):
    one = sections(1)
    b = broker(one)
    pid, keeper = b.pids()
    late = b.log().count(LATE)  # on a busy machine, by itself
    wait_log(b, AGAIN, late)
    with stopped(keeper):
        b.write_config(one + sections(1, "new"))
        process = start_apply(b)
        wait_log(b, LATE, late + 1)
        assert process.poll() is None, "announced, and would be lost"
        with b.client() as client:  # it is in force, and all others are served
            client.acquire("new0").close()
            assert client.request("APPLY").first == "ERROR=EBUSY"
        assert (b.log().count(LATE), b.log().count(AGAIN)) == (late + 1, late), b.log()
    finish(process)
    before = inodes(b)
    wait_log(b, AGAIN, late + 1)
    os.kill(pid, signal.SIGKILL)
    assert inodes(b) == before


def test_who_waited_for_apply_and_is_gone_leaves_the_next_one_alone(broker):
    b = broker(sections(1))
    _, keeper = b.pids()
    with stopped(keeper):
        with b.client() as client:
            client.send("APPLY")
            with b.client() as other:  # nothing comes of the first, but it was heard
                assert other.request("APPLY").first == "ERROR=EBUSY"
        with b.client() as other:
            assert other.request("HELLO").ok
    wait_for_apply(b)


def wait_for_apply(b):
    deadline = time.monotonic() + DEADLINE
    while b.fdpass("apply", check=False).returncode != 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def seconds_to_acquire(client, first):
    """A hundred, of which each is a push of its own."""
    begin = time.monotonic()
    for n in range(first, first + 100):
        client.acquire(f"new{n}").close()
    return time.monotonic() - begin


@pytest.mark.alone
def test_thousands_of_listeners_wait_for_the_keeper_and_nobody_else_does(broker):
    """More than may be open twice; and the loop may not stand still while they are pushed."""
    one = sections(1)
    b = broker(one, nofile=3000)
    pid, keeper = b.pids()
    with stopped(keeper):
        b.write_config(one + sections(2000, "new"))
        process = start_apply(b)
        wait_log(b, LATE)
        with b.client() as client:
            hundreds = iter(range(0, 2000, 100))
            until(lambda: seconds_to_acquire(client, next(hundreds)) < 0.9, "a hundred that do not wait")
            assert client.request("HELLO").ok
    finish(process)
    before = inodes(b)
    assert len(before) == 2001 and "cannot be stored" not in b.log()
    os.kill(pid, signal.SIGKILL)
    assert inodes(b) == before


def pids(b):
    """Of broker and keeper, once a disposable child, which is the same program, has ended."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            return b.pids()
        except AssertionError:
            assert time.monotonic() < deadline, b.log()
            time.sleep(0.01)


def test_a_killed_keeper_is_refilled_with_what_was_stored(broker):
    b = broker(sections(2))
    ends = [os.pipe() for _ in range(300)]
    with b.client() as client:
        assert client.request("HELLO")["STORE"] == "1"
        for n in range(0, 300, 100):
            assert client.request("STORE", [read_end for read_end, _ in ends[n:n + 100]], NAME=f"shop{n}").ok
    for _ in range(2):
        pid, keeper = pids(b)
        os.kill(keeper, signal.SIGKILL)
        while pids(b)[1] in (None, keeper):
            pass
        assert b.broker_pid == pid
        with b.client() as client:  # what is answered is kept, and all before it
            assert client.request("HELLO")["STORE"] == "1"
            assert client.request("STORE", [ends[0][0]], NAME="mark").ok
        os.kill(pid, signal.SIGKILL)
        with b.client() as client:
            assert len(client.request("STORED").document()["stored"]) == 4
    with b.client() as client:
        for n in range(0, 300, 100):
            answer = client.request("TAKE", NAME=f"shop{n}")
            assert len(answer.fds) == 100
            for (_, write_end), fd in zip(ends[n:], answer.fds):
                os.write(write_end, b"x")
                assert os.read(fd, 1) == b"x"
            answer.close()
            assert client.request("TAKEN", NAME=f"shop{n}", ACK=answer["ACK"]).ok
    for pair in ends:
        for fd in pair:
            os.close(fd)
    end_both(*pids(b))
