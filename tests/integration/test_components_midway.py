"""
The broker goes away while a component is in the middle of something that takes more than one step: a reload of its own,
an end that does not come, instances that are replaced one by one. And the keeper goes away alone. And a component is
asked for something else in the middle of that.
"""
import os
import signal
import subprocess
import sys
import time

import pytest

from testing.load import Load
from testing.process import alive, cgroups, end, until
from testing.scene import REQUEST
from testing.ways import (WAYS, Command, collector, kill_broker, kill_keeper, scene,  # noqa: F401  (fixtures, too)
                          upgrade, wait_no_zombies)

NOTIFY = "Type=notify\n"
TRACER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../testing/tracer.py")


def states(s):
    return {place: (one["state"], one["pid"]) for one in s.component("hermes")["instances"]
            for place in [(one["generation"], one["index"])]}


# ---- a reload of its own ---------------------------------------------------------------------------------------


def test_a_reload_that_it_says_is_over_when_it_says_so(scene):
    s = scene("Type=notify-reload\n")
    busy = s.folder / "gate"
    s.do("hermes", f"reload-while={busy}")
    s.receipt("RESTART", "hermes")
    before = states(s)
    for n, way in enumerate(WAYS, 1):
        busy.touch()
        waits = Command(s, "reload", "hermes")
        until(lambda n=n: s.broker.log().count("hermes: reloads") == n, "it to be told")
        way(s)
        assert states(s) == before
        assert waits.process.poll() is None, "nobody said that it was over"
        busy.unlink()
        assert waits.receipt()["verdict"] == "done", s.broker.log()
        assert s.broker.log().count("hermes: reloads") == n, "it was told twice"
    # and the protocol is at its beginning again
    assert s.receipt("RELOAD", "hermes")["verdict"] == "done"
    assert states(s) == before


@pytest.mark.parametrize("way", [kill_broker, upgrade], ids=["killed", "upgraded"])
def test_a_reload_is_too_slow_when_it_would_have_been(scene, way):
    s = scene("Type=notify-reload\n")
    s.wait_state("hermes", "ready")
    soon = s.soon_ms("hermes")
    s.components["hermes"] += f"TimeoutStartSec={soon}ms\n"
    s.apply()
    busy = s.folder / "gate"
    s.do("hermes", f"reload-while={busy}")
    s.receipt("RESTART", "hermes")
    before = states(s)
    busy.touch()
    began = time.monotonic()
    waits = Command(s, "reload", "hermes")
    until(lambda: "hermes: reloads" in s.broker.log(), "it to be told")
    way(s)
    receipt = waits.receipt()
    assert receipt["verdict"] == "failed" and "reloading took longer" in receipt["reason"], receipt
    assert time.monotonic() - began >= soon / 1000 - 0.1
    assert states(s) == before


# ---- an end that does not come ---------------------------------------------------------------------------------


class Held:
    """A process that is killed and does not end before it is let go."""

    def __init__(self, pid):
        self.tracer = subprocess.Popen([sys.executable, "-BIS", TRACER, str(pid)], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.tracer.stdout.readline() != "up\n":
            pytest.skip(f"no process may be traced here: {self.tracer.communicate()[1]}")

    def wait(self):
        assert self.tracer.stdout.readline() == "held\n", "SIGKILL did not come"

    def let_go(self):
        self.tracer.communicate()


@pytest.fixture
def held():
    started = []

    def hold(pid):
        started.append(Held(pid))
        return started[-1]

    yield hold
    for one in started:
        one.let_go()


def test_killed_and_not_yet_ended_it_is_waited_for(scene, held):
    s = scene(NOTIFY + "TimeoutStopSec=1s\nExecStop=/bin/sh -c 'echo stopping'\n"
              "ExecStopPost=/bin/sh -c 'echo cleaned'\n")
    for n, way in enumerate(WAYS, 1):
        s.do("hermes", "ignore-term")
        s.broker.fdpass("start" if n > 1 else "restart", "hermes")
        (place, (_, pid)), = states(s).items()
        one = held(pid)
        told = [s.broker.log().count(f"hermes: {word}") for word in ("stopping", "cleaned")]
        began = time.monotonic()
        waits = Command(s, "stop", "hermes")
        one.wait()
        way(s)
        # it is the same one, which is neither given up nor taken for ended, before five seconds are over
        found, is_waiting = states(s), waits.process.poll() is None and alive(pid)
        assert (found == {place: ("draining", pid)} and is_waiting) or time.monotonic() - began > 5.9, s.broker.log()
        one.let_go()
        receipt = waits.receipt()
        assert (receipt["verdict"], receipt["killed"]) == ("done", True), receipt
        assert states(s) == {} and s.state("hermes") == "stopped"
        for word, before in zip(("stopping", "cleaned"), told):
            assert s.broker.log().count(f"hermes: {word}") == before + 1, s.broker.log()
        wait_no_zombies(*s.broker.pids())


def test_what_hangs_in_its_end_is_left_alone_when_it_would_have_been(scene, held):
    s = scene(NOTIFY + "TimeoutStopSec=100ms\n")
    s.do("hermes", "ignore-term")
    s.broker.fdpass("restart", "hermes")
    _, pid = states(s)[2, 0]
    one = held(pid)
    began = time.monotonic()
    waits = Command(s, "stop", "hermes")
    one.wait()
    broker = s.broker.broker_pid
    until(lambda: time.monotonic() > began + 3, "most of its time")
    killed = time.monotonic()
    end(broker)  # the command finds the next one; nothing more is done that takes its time
    assert waits.receipt()["verdict"] == "done"
    assert time.monotonic() - began > 4.5
    assert time.monotonic() - killed < 4.9, "its time began anew"
    assert "hang in the kernel" in s.broker.log() and s.state("hermes") == "stopped"
    s.do("hermes", "")
    assert s.receipt("START", "hermes")["verdict"] == "serves" and alive(pid)


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "hangs"])
def test_a_stop_waits_for_the_command_that_it_killed(scene, held, ends):
    s = scene(NOTIFY + "Start=manual\nExecStartPre=/bin/sh -c 'echo $$$$; exec sleep 100'\n")
    start = s.job("START", "hermes")
    pid = int(s.said("hermes", r"^\d+$")[0])
    one = held(pid)
    waits = Command(s, "stop", "hermes")
    one.wait()
    until(lambda: states(s) == {}, lambda: states(s))
    assert waits.process.poll() is None and alive(pid) and "stop: done" not in s.broker.log()
    if ends:
        one.let_go()
    assert waits.receipt()["verdict"] == "done"
    assert alive(pid) != ends
    assert (f"pid {pid}, or what it started, was killed, hangs in the kernel" in s.broker.log()) != ends
    assert start.wait()["hermes"]["verdict"] == "canceled"


# ---- one by one ------------------------------------------------------------------------------------------------


def test_instances_are_replaced_one_by_one_whatever_becomes_of_the_broker(scene, tmp_path):
    s = scene(NOTIFY + "Instances=3\n"
              f"ExecStartPre=/bin/sh -c 'while [ -e {tmp_path}/gate-$FDPASS_INSTANCE ]; do sleep 0.01; done'\n")
    until(lambda: [state for state, _ in states(s).values()] == ["ready"] * 3, "three")
    with Load(s.addresses["hermes"], request=REQUEST, threads=2) as load:
        for old, way in enumerate(WAYS, 1):
            before = states(s)
            second = s.file("gate-1")
            waits = Command(s, "restart", "hermes")
            until(lambda o=old: sorted(states(s)) == [(o, 1), (o, 2), (o + 1, 0), (o + 1, 1)], lambda: states(s))
            midway = states(s)
            assert [state for state, _ in midway.values()].count("ready") == 3
            for index in (1, 2):
                assert midway[old, index] == before[old, index]
            way(s)
            assert states(s) == midway, s.broker.log()
            second.unlink()
            receipt = waits.receipt()
            assert (receipt["verdict"], receipt["generation"], receipt["instances"]) == ("serves", old + 1, 3), \
                (receipt, s.broker.log())
            after = states(s)
            assert {place: state for place, (state, _) in after.items()} == \
                {(old + 1, index): "ready" for index in range(3)}
            assert after[old + 1, 0] == midway[old + 1, 0], "what was replaced already was replaced again"
            wait_no_zombies(*s.broker.pids())
        load.wait_served(5)
    assert load.refused == 0 and load.made == load.served, str(load)


def start_of_three_of_which_one_ends(scene, restart):
    """The scene: the start has failed, and the other two are starting still. Their gate; how all three were before."""
    s = scene(NOTIFY + f"Instances=3\nStart=manual\n{restart}")
    gate = s.file("gate")
    s.do("hermes", f"starts-while={gate}")
    job = s.job("START", "hermes")
    until(lambda: len(states(s)) == 3, "three")
    before = states(s)
    end(before[1, 0][1])
    assert job.wait()["hermes"]["verdict"] == "failed"
    return s, gate, before


def test_a_place_that_fails_leaves_the_others_to_their_start(scene):
    s, gate, before = start_of_three_of_which_one_ends(scene, "Restart=on-failure\nRestartSec=10ms\n")
    until(lambda: len([state for state, _ in states(s).values() if state == "starting"]) == 3, "another in its place")
    assert set(states(s)) == set(before), states(s)
    gate.unlink()
    s.wait_state("hermes", "ready")
    until(lambda: [state for state, _ in states(s).values()] == ["ready"] * 3, lambda: states(s))
    assert all(states(s)[1, index][1] == before[1, index][1] for index in (1, 2)), "they were started anew"


def test_a_restart_of_what_is_starting_in_other_places_leaves_one_generation_starting(scene):
    s, gate, _ = start_of_three_of_which_one_ends(scene, "Restart=no\n")
    assert {place: state for place, (state, _) in states(s).items()} == {(1, 1): "starting", (1, 2): "starting"}
    job = s.job("RESTART", "hermes").step("starting", generation=2)
    assert [place for place, (state, _) in states(s).items() if state == "starting"] == [(2, 0)], states(s)
    gate.unlink()
    receipt = job.wait()["hermes"]
    assert (receipt["verdict"], receipt["generation"], receipt["instances"]) == ("serves", 2, 3), receipt


def test_a_place_is_begun_again_in_its_generation_when_what_was_there_is_gone(scene, tmp_path):
    """The two have one name, and with it one notify socket."""
    s = scene(NOTIFY + "Instances=2\nStart=manual\nRestart=no\n"
              f"ExecStartPre=/bin/sh -c 'while [ -e {tmp_path}/gate-$FDPASS_INSTANCE ]; do sleep 0.01; done'\n"
              "ExecStartPost=/bin/sh -c 'test $FDPASS_INSTANCE != $BAD'\n")
    first, linger, gate = s.file("gate-0"), s.file("gate-linger"), s.file("gate")
    s.do("hermes", f"linger={linger}", "BAD=1\n")
    failed = s.job("START", "hermes")
    until(lambda: states(s).get((1, 1), [""])[0] == "draining", lambda: states(s))
    pid = states(s)[1, 1][1]
    s.do("hermes", f"starts-while={gate}", "BAD=none\n")
    with s.broker.client() as client:
        assert client.request("START", NAMES="hermes", JOB="again", NO_WAIT=1).ok
    assert states(s)[1, 0][0] == "starting" and len(s.component("hermes")["instances"]) == 2
    linger.unlink()
    until(lambda: not alive(pid) and states(s).get((1, 1), ["", pid])[1] != pid, "the end of what failed")
    gate.unlink()
    first.unlink()
    receipt = s.receipt("START", "hermes", JOB="again")
    assert (receipt["verdict"], receipt["instances"], receipt["last_lines"]) == ("serves", 2, []), receipt
    assert failed.wait()["hermes"]["verdict"] == "failed"


@pytest.mark.parametrize("way", WAYS[:3])
def test_one_of_several_that_ends_too_often_is_left_alone_and_the_others_are_not(scene, way):
    s = scene(NOTIFY + "Instances=4\nRestart=on-failure\nRestartSec=10ms\nStartLimitBurst=1\n"
              "StartLimitIntervalSec=3600\n")
    with Load(s.addresses["hermes"]) as load:
        end(states(s)[1, 1][1])
        until(lambda: states(s).get((2, 1), [""])[0] == "ready", lambda: states(s))
        end(states(s)[2, 1][1])
        s.wait_state("hermes", "failed")
        load.wait_served(5)
    assert load.refused == 0, str(load)
    said = "instance 2 failed: it was started too often (StartLimitBurst=); the last time: killed by SIGKILL; 3 of 4 serve"
    others = states(s)
    assert {place: state for place, (state, _) in others.items()} == {(1, index): "ready" for index in (0, 2, 3)}
    way(s)
    found = s.component("hermes")
    assert (found["state"], found["goal"], found["reason"]) == ("failed", "running", said)
    row = s.broker.fdpass("status").stdout.splitlines()[1]
    assert row.startswith("hermes    failed") and said in row
    assert states(s) == others and "hermes: instance 2 failed: " in s.broker.log()
    assert s.receipt("START", "hermes")["verdict"] == "serves"
    assert s.state("hermes") == "ready" and len(states(s)) == 4


# ---- a command -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb, directive", [("START", "ExecStartPre"), ("START", "ExecStartPost"),
                                             ("RELOAD", "ExecReload"), ("STOP", "ExecStop")])
def test_a_command_that_is_cut_short_leaves_no_cgroup(scene, verb, directive):
    name = f"hermes{os.getpid()}"  # cgroups of its own
    s = scene(NOTIFY + f"Start=manual\nTimeoutStopSec=300ms\n{directive}=/bin/sleep 100\n", name)
    if "components run in cgroups" not in s.broker.log():
        pytest.skip("no cgroup v2 that may be written")
    job = s.job("START", name)
    if verb != "START":
        assert job.wait()[name]["verdict"] == "serves"
        job = s.job(verb, name)
    until(lambda: any(one.endswith("-control") for one in cgroups(name)), lambda: cgroups(name))
    s.receipt("STOP", name)
    assert cgroups(name) == [], "the stop was done before what it killed was gone"
    job.wait()


# ---- the keeper alone ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["starting", "draining"])
def test_the_keeper_alone_dies_in_the_middle_of_a_restart(scene, moment):
    s = scene(NOTIFY)
    gate = s.folder / "gate"
    for old in (1, 2):
        broker = s.broker.broker_pid
        s.do("hermes", f"starts-while={gate} linger={gate}")
        if old == 1:
            s.receipt("RESTART", "hermes")
        gate.touch()
        if moment == "draining":
            s.do("hermes", f"linger={gate}")
        waits = Command(s, "restart", "hermes")
        wanted = {"starting": ["ready", "starting"], "draining": ["draining", "ready"]}[moment]
        until(lambda: [state for _, (state, _) in sorted(states(s).items())] == wanted, lambda: states(s))
        midway = states(s)
        kill_keeper(s)
        assert states(s) == midway and s.broker.broker_pid == broker, "the broker, too"
        gate.unlink()
        receipt = waits.receipt()
        assert (receipt["verdict"], receipt["generation"]) == ("serves", old + 2), (receipt, s.broker.log())
        assert receipt["drained"] and not receipt["killed"]
        (place, serving), = states(s).items()
        assert place == (old + 2, 0) and serving[0] == "ready"
        # what the next keeper was given is whole: output, notify socket and process of the generation
        kill_broker(s)
        assert states(s) == {place: serving}
        os.kill(serving[1], signal.SIGHUP)
        s.said("hermes", "^reloads$")
        assert s.receipt("RELOAD", "hermes")["verdict"] == "done"
        wait_no_zombies(*s.broker.pids())
