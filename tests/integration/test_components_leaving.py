"""A component that ends of its own will and says so (STOPPING=1): it is left in peace until it has."""
import os
import socket
import time

import pytest

from testing.broker import DEADLINE
from testing.process import alive, until
from testing.ways import WAYS, Command, collector, scene  # noqa: F401  (fixtures, too)

NOTIFY = "Type=notify\n"
#: Each of them would end, or replace, one that answers nothing for so many milliseconds.
WATCHED = ("WatchdogSec={0}ms\nHealthCheck=http:/\nHealthCheckIntervalSec=50ms\nHealthCheckTimeoutSec={0}ms\n"
           "HealthCheckFailures=1\nStallSec={0}ms\nStallAction=restart\n")


@pytest.mark.alone
def test_who_leaves_is_not_watched_nor_told_to_and_started_again_when_it_has_gone(scene):
    s = scene(NOTIFY + "Restart=always\nRestartSec=10ms\nExecStop=/bin/sh -c 'echo told'\n")
    soon = s.soon_ms("hermes", least=1000)
    s.components["hermes"] += WATCHED.format(soon)
    s.apply()
    ends = s.folder / "gate"
    s.do("hermes", f"feed status=9 ends={ends}")
    s.receipt("RESTART", "hermes")
    pid = s.pids("hermes")[2]
    s.do("hermes", "feed")
    ends.touch()
    s.wait_state("hermes", "draining")
    with socket.create_connection(s.addresses["hermes"], timeout=DEADLINE) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        time_of_three = time.monotonic() + 3 * soon / 1000
        until(lambda: time.monotonic() > time_of_three or s.instances("hermes") != {(2, 0): "draining"},
              "three times what it may be silent", DEADLINE + 3 * soon / 1000)
        for way in WAYS[:3]:
            way(s)
            one, = s.component("hermes")["instances"]
            assert (one["generation"], one["pid"], one["state"]) == (2, pid, "draining"), s.broker.log()
            assert (one["reason"], one["ready"]) == ("it said STOPPING=1", False)
        row = s.broker.fdpass("status").stdout.splitlines()[1]
        assert f"generation 2 draining (pid {pid}): it said STOPPING=1" in row
        assert alive(pid) and "is stalled" not in s.broker.log()
        ends.unlink()
        assert s.read(connection)["generation"] == "3"
    said = "exited with status 9; it said: STOPPING=1, EXIT_STATUS=9"
    last = s.component("hermes")["last_end"]
    assert (last["text"], last["reason"]) == (said, said)
    assert s.broker.log().count("asked to stop") == s.broker.log().count("hermes: told") == 1  # generation 1 was


@pytest.mark.parametrize("verb", ["RESTART", "START"])
def test_a_start_that_says_that_it_ends_has_failed_when_it_has(scene, verb):
    s = scene(NOTIFY + "Restart=no\nTimeoutStartSec=infinity\n")
    ends = s.file("gate")
    s.do("hermes", f"status=9 ends-early={ends}")
    if verb == "START":
        s.receipt("STOP", "hermes")
    job = s.job(verb, "hermes").step("draining", generation=2)
    assert s.instances("hermes")[2, 0] == "draining" and not job.is_over()
    ends.unlink()
    receipt = job.wait()["hermes"]
    said = "exited with status 9 before it was ready; it said: STOPPING=1, EXIT_STATUS=9"
    assert (receipt["verdict"], receipt["reason"]) == ({"RESTART": "kept", "START": "failed"}[verb], said)
    assert receipt["last_lines"] == ["leaves"]
    assert s.component("hermes")["last_end"]["text"] == said


@pytest.mark.parametrize("more, said", [
    ("HealthCheck=no\n", "exited with status 9; it said: STOPPING=1 as soon as it was ready, EXIT_STATUS=9"),
    ("", "exited with status 9 before it was seen to accept; it said: STOPPING=1, EXIT_STATUS=9"),
    ("HealthCheck=http:/\n", "exited with status 9 before it was healthy; it said: STOPPING=1, EXIT_STATUS=9")])
def test_one_that_is_ready_and_ends_in_one_breath_does_not_serve(scene, more, said):
    s = scene(NOTIFY + "Restart=no\n" + more)
    s.do("hermes", f"status=9 ends-as-ready={s.folder}/never")
    receipt = s.receipt("RESTART", "hermes")
    assert (receipt["verdict"], receipt["reason"]) == ("kept", said)
    assert s.instances("hermes") == {(1, 0): "ready"} and s.component("hermes")["last_end"]["text"] == said
    s.receipt("STOP", "hermes")
    receipt = s.receipt("START", "hermes")
    assert (receipt["verdict"], receipt["reason"]) == ("failed", said)


def test_who_says_that_it_ends_and_does_not_is_killed_at_its_deadline(scene):
    s = scene(NOTIFY + "Restart=on-failure\nRestartSec=10ms\n")
    s.components["hermes"] += "TimeoutStopSec=700ms\n"  # of the second one
    s.apply()
    ends = s.folder / "gate"
    s.do("hermes", f"ends={ends}")
    s.receipt("RESTART", "hermes")
    s.do("hermes", "")
    ends.touch()
    until(lambda: s.instances("hermes") == {(3, 0): "ready"}, "the third generation")
    last = s.component("hermes")["last_end"]
    assert last["text"] == "killed by SIGKILL"
    assert last["reason"] == "it said STOPPING=1 and did not end within TimeoutStopSec= (0.7 s)"
    row = s.broker.fdpass("status").stdout.splitlines()[1]
    assert f"{last['reason']}; killed by SIGKILL (" in row
    assert s.broker.log().count("asked to stop") == 1  # generation 1


def test_one_that_leaves_is_told_by_a_stop_once_and_waited_for(scene):
    s = scene(NOTIFY + "Restart=always\nTimeoutStopSec=60\nExecStop=/bin/sh -c 'echo told'\n")
    ends = s.folder / "gate"
    s.do("hermes", f"ends={ends}")
    s.receipt("RESTART", "hermes")
    pid = s.pids("hermes")[2]
    ends.touch()
    s.wait_state("hermes", "draining")
    assert s.broker.log().count("asked to stop") == 1  # generation 1
    waits = Command(s, "stop", "hermes")
    s.wait_log("asked to stop", 2)
    for way in WAYS[:2]:
        way(s)
    assert alive(pid) and "which said STOPPING=1, is told to stop now" in s.broker.log()
    ends.unlink()
    assert waits.receipt()["verdict"] == "done"
    assert s.state("hermes") == "stopped" and s.component("hermes")["instances"] == []
    until(lambda: not os.path.exists(f"/proc/{pid}"), "it to be collected")
    assert s.broker.log().count("asked to stop") == 2
    assert s.broker.log().count("hermes: told") == 1  # generation 1: one that ends already is not asked to begin
