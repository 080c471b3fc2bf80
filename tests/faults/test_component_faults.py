"""
Programs that misbehave in every way that is known to us, as components: what is done about it is defined, a
neighbour notices nothing, and the listener stays. With cgroups, and with process groups, which is what there is
where the broker may not write its cgroup.
"""
import os
import re
import signal
import socket
import sys
import time

import pytest

from testing.broker import DEADLINE
from testing.load import Load
from testing.process import alive, until
from testing.scene import REQUEST, SERVER, Scene

NOTIFY = "Type=notify\n"
#: A cgroup hierarchy that is there and may not be written: see cgroup_root_open().
READ_ONLY = """
for point in $(awk '$0 ~ / - cgroup2 / { print $5 }' /proc/self/mountinfo); do
        mount -o remount,bind,ro "$point" || exit 9
done
exec "$@"
"""
WITHOUT_CGROUPS = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh"]
MEMORY = 64 << 20
SLOW = 5  # what a neighbour waits for at most, on a machine that has other things to do


#: For what becomes of processes: both kinds of trees. The rest goes by what there is.
both = pytest.mark.parametrize("trees", ["cgroups", pytest.param("groups", marks=pytest.mark.root)])


@pytest.fixture
def trees():
    return None


@pytest.fixture
def scene(broker, tmp_path, trees):
    """scene(directives of hermes): with a neighbour, which is served all the time."""
    loads = []

    def start(directives, more="", **others):
        s = Scene(broker, tmp_path, {"hermes": NOTIFY + directives, "iris": NOTIFY, **others}, more,
                  wrapper=WITHOUT_CGROUPS if trees == "groups" else ())
        if trees == "cgroups" and "components run in cgroups" not in s.broker.log():
            pytest.skip("no cgroup v2 that may be written")
        if trees == "groups":
            assert "components run in process groups" in s.broker.log()
        s.inode = s.broker.inode("hermes")
        loads.append((s, Load(s.addresses["iris"], threads=1, request=REQUEST)))
        loads[-1][1].__enter__()
        return s

    yield start
    for s, load in loads:
        load.wait_served(3)
        load.__exit__()
        assert load.made == load.served and load.longest < SLOW, str(load)
        assert s.broker.inode("hermes") == s.inode
        assert s.component("iris")["restarts"] == 0
        assert set(s.pids("iris")) == {1}


def serves_again(s, generation):
    s.do("hermes", "")
    receipt = s.receipt("RESTART", "hermes")
    assert (receipt["verdict"], receipt["generation"]) == ("serves", generation), receipt
    assert s.generation("hermes") == generation


# ---- ends ------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_killed_it_is_started_again_and_connections_wait(scene, number):
    s = scene("RestartSec=100ms\n")
    s.do("hermes", f"starts-while={s.file('gate')}")
    os.kill(s.pids("hermes")[1], number)
    with socket.create_connection(s.addresses["hermes"], timeout=DEADLINE) as waits:
        waits.sendall(REQUEST)
        s.wait_state("hermes", "starting")
        (s.folder / "gate").unlink()
        assert s.read(waits)["generation"] == "2"
    component = s.component("hermes")
    assert component["restarts"] == 1 and component["last_end"]["text"].startswith(f"killed by {number.name}")


def test_out_of_memory_it_ends_and_says_so(scene):
    s = scene("LimitAS=256M\n")
    s.do("hermes", "memory")
    receipt = s.receipt("RESTART", "hermes")
    assert receipt["verdict"] == "kept" and "MemoryError" in receipt["last_lines"], receipt
    assert s.generation("hermes") == 1
    serves_again(s, 3)


def memory_cgroup(name):
    """A new cgroup with a limit on memory, and the file by which a process enters it; None and why not."""
    tried = []
    with open("/proc/self/mounts", encoding="utf-8") as file:
        mounts = [line.split()[1:4] for line in file]
    with open("/proc/self/cgroup", encoding="ascii") as file:
        own = {controllers: path for _, controllers, path in (line.strip().split(":", 2) for line in file)}
    for point, kind, options in mounts:
        if kind == "cgroup2" and "" in own:
            path, limits = own[""], {"memory.max": MEMORY, "memory.swap.max": 0}
        elif kind == "cgroup" and "memory" in options.split(",") and "memory" in own:
            path, limits = own["memory"], {"memory.limit_in_bytes": MEMORY, "memory.memsw.limit_in_bytes": MEMORY}
        else:
            continue
        # Of a part of the hierarchy that is mounted as a whole the path is not below the mount point.
        parent = point + path if os.path.isdir(point + path) else point
        folder = os.path.join(parent, name)
        try:
            os.mkdir(folder)
            first, second = limits
            write(os.path.join(folder, first), limits[first])
            if os.path.exists(os.path.join(folder, second)):
                write(os.path.join(folder, second), limits[second])
            return folder, None
        except OSError as error:
            tried.append(f"{folder}: {error.strerror}")
            if os.path.isdir(folder):
                os.rmdir(folder)
    return None, "; ".join(tried) or "no cgroup hierarchy is mounted"


def write(path, value):
    with open(path, "w", encoding="ascii") as file:
        file.write(str(value))


@pytest.fixture
def limited():
    """A cgroup in which the kernel kills who needs more than MEMORY."""
    folder, reason = memory_cgroup(f"limited-{os.getpid()}")
    if not folder:
        pytest.skip(f"no limit on memory can be set: {reason}")
    yield folder
    until(lambda: not open(os.path.join(folder, "cgroup.procs"), encoding="ascii").read(), "it to be empty")
    os.rmdir(folder)


@pytest.mark.root
def test_killed_by_the_kernel_for_want_of_memory_it_is_started_again(limited, scene):
    """By the OOM killer, which ends what no program and no broker asked to end."""
    enter = f"/bin/sh -c 'echo $$$$ >{limited}/cgroup.procs && exec {sys.executable} -IS {SERVER}'"
    s = scene(f"ExecStart={enter}\nRestart=on-failure\nRestartSec=100ms\n")
    serving = s.pids("hermes")[1]
    s.do("hermes", "memory")
    receipt = s.receipt("RESTART", "hermes")
    assert (receipt["verdict"], receipt["reason"]) == ("kept", "killed by SIGKILL before it was ready"), receipt
    assert s.generation("hermes") == 1 and s.pids("hermes") == {1: serving}
    # and one that serves: in the middle of it
    s.do("hermes", f"memory-on={s.folder / 'hungry'}")
    s.receipt("RESTART", "hermes")
    s.do("hermes", f"starts-while={s.file('gate')}")
    s.file("hungry")
    s.wait_state("hermes", "starting")
    with socket.create_connection(s.addresses["hermes"], timeout=DEADLINE) as waits:
        waits.sendall(REQUEST)
        (s.folder / "gate").unlink()
        assert s.read(waits)["generation"] == "4"
    component = s.component("hermes")
    assert component["last_end"]["text"] == "killed by SIGKILL" and component["restarts"] == 1
    assert "killed by SIGKILL" in s.broker.fdpass("status", "hermes").stdout


def test_a_missing_program_is_said_with_the_step_and_is_not_tried_for_ever(scene):
    s = scene("", lost=NOTIFY + "ExecStart=/nonexistent/lost\nRestartSec=10ms\nRestartSteps=0\n"
                                "StartLimitIntervalSec=60\nStartLimitBurst=3\n")
    failed = s.wait_state("lost", "failed")
    assert "/nonexistent/lost" in failed["reason"] and "No such file or directory" in failed["reason"]
    assert failed["restarts"] == 3
    receipt = s.receipt("START", "lost")
    assert receipt["verdict"] == "failed" and "No such file or directory" in receipt["reason"]
    serves_again(s, 2)


def test_an_end_in_a_loop_is_bounded(scene):
    s = scene("", loop=NOTIFY + "Restart=always\nRestartSec=0\nRestartSteps=0\nStartLimitIntervalSec=1h\n"
                                "StartLimitBurst=20\n")
    s.do("loop", "exit=1")
    os.kill(s.pids("loop")[1], signal.SIGKILL)
    until(lambda: s.state("loop") == "failed", "twenty starts", 4 * DEADLINE)
    failed = s.component("loop")
    assert "started too often" in failed["reason"] and failed["restarts"] == 20
    assert failed["instances"] == []
    serves_again(s, 2)


# ---- is not ready, or says it is -------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("words", ["never", "never ignore-term", "stop-self"])
def test_never_ready_it_is_ended_with_all_it_has(scene, words):
    s = scene("TimeoutStopSec=200ms\n")
    s.wait_state("hermes", "ready")
    s.components["hermes"] += s.soon("hermes")
    s.apply()
    s.do("hermes", words)
    job = s.job("RESTART", "hermes").step("starting", generation=2)
    pid = s.pids("hermes")[2]
    receipt = job.wait()["hermes"]
    assert receipt["verdict"] == "kept" and "not ready within" in receipt["reason"]
    until(lambda: not alive(pid), "the end of the second")
    s.components["hermes"] = NOTIFY
    s.apply()
    serves_again(s, 3)


def test_ready_twice_is_ready_once(scene):
    s = scene("ExecStartPost=/bin/echo completed\n")
    s.do("hermes", "ready-twice")
    job = s.job("RESTART", "hermes")
    assert job.wait()["hermes"]["verdict"] == "serves"
    assert job.steps().count(("hermes", "ready", 2)) == 1
    until(lambda: s.component("hermes")["instances"][0]["status"] == "again", "its status")
    assert s.lines("hermes").count("completed") == 2


@both
@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_ready_but_never_accepting_it_is_stopped_and_the_old_one_serves_on(scene, family, tmp_path):
    path = str(tmp_path / "web.sock")
    s = scene("", path=NOTIFY + "Sockets=path\n", more=f"[Socket path]\nListenStream={path}\n")
    name, address = ("hermes", s.addresses["hermes"]) if family == "tcp" else ("path", path)
    patient = s.components[name]
    s.do(name, "deaf")
    with Load(address, request=REQUEST) as load:
        load.wait_served(20)
        s.components[name] += s.soon(name)
        s.apply()
        job = s.job("RESTART", name).step("starting", generation=2)
        pid = s.pids(name)[2]
        receipt = job.wait()[name]
        load.wait_served(20)
    assert (receipt["verdict"], receipt["generation_before"]) == ("kept", 1), receipt
    assert "it said READY=1 and accepted none of " in receipt["reason"] and "HealthCheck=no" in receipt["reason"]
    assert (load.refused, load.cut, load.others) == (0, 0, {}), str(load)
    until(lambda: not alive(pid), "the end of the second")
    s.components[name] = patient
    s.apply()
    s.do(name, "")
    receipt = s.receipt("RESTART", name)
    assert (receipt["verdict"], receipt["generation"]) == ("serves", 3), receipt


def test_never_accepting_where_its_word_is_enough_the_receipt_says_on_whose_word(scene):
    s = scene("StallSec=200ms\nHealthCheck=no\n")
    s.do("hermes", "deaf")
    receipt = s.receipt("RESTART", "hermes")
    assert receipt["verdict"] == "serves" and receipt["ready_by"].startswith("its own word")
    with socket.create_connection(s.addresses["hermes"], timeout=DEADLINE) as waits:
        waits.sendall(REQUEST)
        s.wait_log("hermes is stalled: 1 connection")
        serves_again(s, 3)
        assert s.read(waits)["generation"] == "3"


@both
def test_what_another_says_in_its_name_is_not_heard(scene):
    s = scene("", thief="Type=exec\nSockets=\n")
    s.do("hermes", f"starts-while={s.file('gate')}")
    job = s.job("RESTART", "hermes").step("starting", generation=2)
    pid = s.pids("hermes")[2]

    def environment():
        with open(f"/proc/{pid}/environ", encoding="utf-8") as file:
            found = dict(word.partition("=")[::2] for word in file.read().split("\0"))
        return "FDPASS_COMPONENT" in found and found  # before it executes its program it has the broker's

    path = until(environment, "its program to be executed")["NOTIFY_SOCKET"]
    s.do("thief", f"as={path}")
    s.job("RESTART", "thief").wait()
    s.said("thief", "^said it$")
    s.wait_log("hermes: .*(refused|ignored|not heard|NotifyAccess)")
    assert s.instances("hermes") == {(1, 0): "ready", (2, 0): "starting"}
    (s.folder / "gate").unlink()
    assert job.wait()["hermes"]["verdict"] == "serves"
    assert s.component("hermes")["instances"][0]["status"] == "serving"


@both
@pytest.mark.parametrize("access, verdict", [("main", "kept"), ("all", "serves")])
def test_what_a_child_says_is_heard_where_notify_access_lets_it(scene, access, verdict):
    s = scene(f"NotifyAccess={access}\nHealthCheck=no\n")
    s.wait_state("hermes", "ready")
    if verdict == "kept":
        s.components["hermes"] += s.soon("hermes")
        s.apply()
    s.do("hermes", "other-process")
    assert s.receipt("RESTART", "hermes")["verdict"] == verdict


@pytest.mark.parametrize("words", ["flood-notify", "flood-output"])
def test_a_flood_delays_nobody_else_and_is_bounded(scene, words):
    s = scene("TimeoutStopSec=1s\nHealthCheck=no\n")  # it floods before it accepts
    s.do("hermes", words + " seconds=0.8")
    job = s.job("RESTART", "hermes").step("ready", generation=2)
    begin = time.monotonic()
    for _ in range(5):
        assert s.state("iris") == "ready"
    assert time.monotonic() - begin < SLOW
    assert job.wait()["hermes"]["verdict"] == "serves"
    assert s.generation("hermes") == 2
    assert sum(len(line) for line in s.lines("hermes")) <= 65536
    with open(f"/proc/{s.broker.broker_pid}/status", encoding="ascii") as file:
        memory = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    assert memory < 256 * 1024  # a sanitized broker's shadow included
    serves_again(s, 3)


# ---- stays -----------------------------------------------------------------------------------------------------


def test_stopped_by_a_signal_it_is_sick_and_is_replaced(scene):
    s = scene("Restart=always\nTimeoutStopSec=200ms\n")
    s.components["hermes"] += (f"HealthCheck=http:/\nHealthCheckIntervalSec=50ms\nHealthCheckFailures=2\n"
                               f"HealthCheckTimeoutSec={s.soon_ms('hermes', least=1000)}ms\n")
    s.apply()
    s.receipt("RESTART", "hermes")
    pid = s.pids("hermes")[2]
    os.kill(pid, signal.SIGSTOP)
    until(lambda: s.instances("hermes") == {(3, 0): "ready"}, "the third generation", 2 * DEADLINE)
    assert not alive(pid) and s.generation("hermes") == 3


@both
def test_stopped_by_a_signal_it_can_be_stopped(scene):
    s = scene("")
    pid = s.pids("hermes")[1]
    os.kill(pid, signal.SIGSTOP)
    receipt = s.receipt("STOP", "hermes")
    # It is woken for it, and ends as others do.
    assert (receipt["verdict"], receipt["killed"]) == ("done", False) and not alive(pid)
    assert "bye" in s.lines("hermes")


@pytest.mark.alone
@both
def test_who_ignores_sigterm_is_killed_at_the_deadline_and_nobody_waits_longer(scene):
    s = scene("")
    soon = s.soon_ms("hermes", least=1000)
    s.components["hermes"] += f"TimeoutStopSec={soon}ms\n"
    s.apply()
    s.do("hermes", "ignore-term")
    s.receipt("RESTART", "hermes")
    pid = s.pids("hermes")[2]
    s.do("hermes", "")
    receipt = s.receipt("RESTART", "hermes")
    assert (receipt["verdict"], receipt["killed"], receipt["drained"]) == ("serves", True, True)
    assert soon <= receipt["drain_ms"] < soon + SLOW * 1000 and not alive(pid)
    s.do("hermes", "ignore-term")
    s.receipt("RESTART", "hermes")
    with s.broker.client(timeout=DEADLINE) as client:
        begin = time.monotonic()
        assert client.request("STOP", NAMES="hermes", NO_WAIT=1).ok
        took = time.monotonic() - begin
    assert took < soon / 1000, took  # before the deadline: it waited for nothing
    s.wait_state("hermes", "stopped")


@both
def test_who_holds_on_to_a_connection_is_named(scene):
    s = scene("TimeoutStopSec=4s\n")  # for two processes that look who has it
    s.do("hermes", f"hold={s.file('hold')}")
    s.receipt("RESTART", "hermes")
    pid = s.pids("hermes")[2]
    with socket.create_connection(s.addresses["hermes"], timeout=DEADLINE) as held:
        held.sendall(b"GET /hold HTTP/1.0\r\n\r\n")
        until(lambda: s.component("hermes")["instances"][0]["connections"] == 1, "the connection")
        s.do("hermes", "")
        receipt = s.receipt("RESTART", "hermes")
    assert (receipt["verdict"], receipt["killed"], receipt["connections"]) == ("serves", True, 1), receipt
    assert [(one["pid"], one["connections"]) for one in receipt["held_on"]] == [(pid, 1)]


@both
def test_who_forks_away_unsaid_has_ended_and_its_child_with_it(scene):
    s = scene("RestartSec=50ms\n")
    s.do("hermes", "fork-away unsaid")
    job = s.job("RESTART", "hermes").step("starting", generation=2)
    receipt = job.wait()["hermes"]
    assert receipt["verdict"] == "kept" and "exited with status 0 before it was ready" in receipt["reason"]
    until(lambda: s.instances("hermes") == {(1, 0): "ready"}, "the end of the second")
    assert {s.ask("hermes")["generation"] for _ in range(20)} == {"1"}
    serves_again(s, 3)


@both
def test_a_grandchild_with_the_listener_goes_with_it_or_is_named(scene, trees):
    s = scene("")
    s.do("hermes", "grandchild")
    s.receipt("RESTART", "hermes")
    grandchild = int(s.said("hermes", r"^grandchild (\d+)$")[1])
    pidfd = os.pidfd_open(grandchild)
    try:
        s.do("hermes", "")
        receipt = s.receipt("RESTART", "hermes")
        assert receipt["verdict"] == "serves"
        if trees == "cgroups":
            assert not alive(grandchild) and receipt["strays"] == []
        else:
            assert alive(grandchild)
            assert [(one["pid"], one["name"]) for one in receipt["strays"]] == [(grandchild, "sleep")], receipt
        assert s.generation("hermes") == 3
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL) if alive(grandchild) else None
        os.close(pidfd)


@pytest.mark.root
def test_who_left_the_cgroup_with_the_listener_is_named(scene, trees):
    """As pam_systemd, a container's runtime or systemd-run do; one of the generation that serves is no stray."""
    s = scene("Start=manual\n")
    if "components run in cgroups" not in s.broker.log():
        pytest.skip("no cgroup v2 that may be written")
    s.do("hermes", "grandchild")
    s.receipt("START", "hermes")
    pids = [int(s.said("hermes", r"^grandchild (\d+)$")[1])]
    leave_cgroup(pids[0])
    pidfd = os.pidfd_open(pids[0])
    try:
        assert s.receipt("RESTART", "hermes")["strays"] == [{"pid": pids[0], "name": "sleep"}]
        assert alive(pids[0])
        s.wait_log(rf"hermes: process {pids[0]} \(sleep\) has its listener open and belongs to no generation")
        assert not re.findall(rf"process (?!{pids[0]} )\d+ .*has its listener open", s.broker.log())
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)


def leave_cgroup(pid):
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
        path = next(line.strip()[3:] for line in file if line.startswith("0::"))
    with open("/proc/self/mounts", encoding="utf-8") as file:
        mount = next(line.split()[1] for line in file if line.split()[2] == "cgroup2")
    assert os.path.basename(path).startswith("fdpass-")
    with open(f"{mount}{os.path.dirname(path).rstrip('/')}/cgroup.procs", "w", encoding="ascii") as file:
        file.write(str(pid))


def test_the_command_comes_back_at_once_where_it_is_not_to_wait(scene):
    s = scene("TimeoutStopSec=60s\n")
    s.do("hermes", "ignore-term")
    s.receipt("RESTART", "hermes")
    pid = s.pids("hermes")[2]
    begin = time.monotonic()
    s.broker.fdpass("stop", "hermes", "--no-wait")
    assert time.monotonic() - begin < 20 and s.instances("hermes") == {(2, 0): "draining"}
    os.kill(pid, signal.SIGKILL)
