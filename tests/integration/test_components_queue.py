"""What receipts and the status tell of listeners' queues: how long connections wait, and what the kernel drops."""
import contextlib
import re
import socket
import subprocess
import time

import pytest

from testing.broker import DEADLINE, FDPASS, free_address
from testing.process import until, wake_ups
from testing.ways import Command, collector, kill_broker, scene  # noqa: F401  (fixtures, too)

NOTIFY = "Type=notify\nHealthCheck=no\n"


@pytest.fixture
def tiny(scene):
    """A component that accepts nothing, at a listener whose queue holds two connections."""
    host, port = free_address()
    s = scene(NOTIFY + "Sockets=tiny\n", more=f"[Socket tiny]\nListenStream={host}:{port}\nBacklog=1\n")
    s.addresses["tiny"] = (host, port)
    s.do("hermes", "deaf")
    s.receipt("RESTART", "hermes")
    return s


def queue_of(s, name):
    with s.broker.client(timeout=DEADLINE) as client:
        found = client.request("STATUS").document()["listeners"]
    return next(one for one in found if one["name"] == name)["sockets"][0]["queue"]


@contextlib.contextmanager
def overflow(address):
    """Two connections that wait, and one whose first packet is dropped."""
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(socket.create_connection(address, timeout=DEADLINE))
        third = stack.enter_context(socket.socket())
        third.setblocking(False)
        with pytest.raises(BlockingIOError):
            third.connect(address)
        yield


@pytest.mark.parametrize("moment", ["starting", "draining", "quiet"])
def test_what_the_kernel_drops_is_in_the_receipt_of_who_was_at_it_whatever_becomes_of_the_broker(tiny, moment):
    s = tiny
    gate, linger = s.file("gate"), s.file("gate-linger")
    s.do("hermes", f"deaf linger={linger}" if moment == "draining" else "deaf")
    s.receipt("RESTART", "hermes")
    s.do("hermes", f"deaf starts-while={gate}" if moment == "starting" else "deaf")
    assert queue_of(s, "tiny")["drops"] == 0
    if moment == "quiet":
        with overflow(s.addresses["tiny"]):
            until(lambda: queue_of(s, "tiny")["drops"], "the kernel to count it")
    waits = Command(s, "restart", "hermes")
    if moment != "quiet":
        until(lambda: moment in s.instances("hermes").values(), lambda: f"{moment}: {s.instances('hermes')}")
        with overflow(s.addresses["tiny"]):
            dropped = until(lambda: queue_of(s, "tiny")["drops"], "the kernel to count it")
            kill_broker(s)
    gate.unlink()
    linger.unlink()
    receipt = waits.receipt()
    assert receipt["verdict"] == "serves" and queue_of(s, "tiny")["drops"] >= 1
    assert (receipt["drops"] == 0) if moment == "quiet" else (receipt["drops"] >= dropped >= 1), receipt
    assert f"dropped {queue_of(s, 'tiny')['drops']}" in s.broker.fdpass("status", "tiny").stdout


def test_words_of_what_was_dropped_and_of_who_waited(tiny):
    gate = tiny.file("gate")
    tiny.do("hermes", f"deaf starts-while={gate}")
    command = subprocess.Popen([FDPASS, "restart", "hermes"], env=tiny.broker.environment(), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, text=True)
    until(lambda: "starting" in tiny.instances("hermes").values(), "the restart")
    broker = tiny.broker.broker_pid
    with overflow(tiny.addresses["tiny"]):
        begin, before = time.monotonic(), wake_ups(broker)
        until(lambda: time.monotonic() > begin + 0.3 and wake_ups(broker) > before + 3, "a wait that is seen")
        gate.unlink()
        said, _ = command.communicate(timeout=DEADLINE)
    assert re.search(r"; longest wait in the queue at most [1-9][0-9.]* m?s; "
                     r"the kernel dropped [1-9]\d* packets? of new connections\n$", said), said


def test_of_a_queue_in_which_nothing_waits_no_wait_is_told(scene):
    said = scene(NOTIFY).broker.fdpass("restart", "hermes").stdout  # a connection that asks would wait for a processor
    assert said.endswith("; no wait seen in the queue; 0 connections dropped\n")


def test_where_the_kernel_counts_what_is_well_nothing_is_called_dropped(scene):
    """TCP_DEFER_ACCEPT: the first packet after the handshake's is dropped, and counted, of each connection."""
    s = scene("Type=notify\n")
    with s.broker.client() as client:
        lent = client.acquire("hermes")
        lent.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)
        for _ in range(3):
            assert s.generation("hermes") == 1
        assert queue_of(s, "hermes") == {"length": 0, "limit": 4096, "drops": None}
        assert "dropped" not in s.broker.fdpass("status", "hermes").stdout
        done = s.broker.fdpass("restart", "hermes")
        assert done.stdout.endswith("; what the kernel dropped is not known (TCP_DEFER_ACCEPT)\n")
        assert s.receipt("RESTART", "hermes")["drops"] is None
        lent.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 0)
        lent.close()
    assert s.broker.fdpass("restart", "hermes").stdout.endswith("; 0 connections dropped\n")
