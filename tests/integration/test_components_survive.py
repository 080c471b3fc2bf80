"""
Components outlive the broker: killed, without its keeper, or upgraded, at every moment of what it does with them.

FDPASS_TEST_KILLS sets how often the broker is killed at some moment of a restart (20).
"""
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time

import pytest

from testing.broker import DEADLINE, FDPASSD, children_of, memory_is_measurable
from testing.load import Load
from testing.process import alive, cgroups, end, fds_at_rest, resident, seconds_to_end, until
from testing.scene import REQUEST, Scene
from testing.ways import (WAYS, Command, collector, kill_broker, kill_keeper, scene,  # noqa: F401  (fixtures, too)
                          upgrade, wait_no_zombies)

KILLS = int(os.environ.get("FDPASS_TEST_KILLS", "20"))
NOTIFY = "Type=notify\n"


# ---- in the middle of a restart --------------------------------------------------------------------------------


def command(path, gate):
    """A command that writes a line and waits as long as the gate is there."""
    return f"/bin/sh -c 'echo begun >> {path}; while [ -e {gate} ]; do sleep 0.01; done'"


def lines(path):
    return path.read_text().count("\n") if path.exists() else 0


#: Directives; what the next generation is told; how the moment is known, from the states of generations.
MOMENTS = {
    "ExecStartPre": ("ExecStartPre={command}\n", "", lambda old, new: {old: "ready", new: "starting"}),
    "starting": ("", "starts-while={gate}", lambda old, new: {old: "ready", new: "starting"}),
    "ExecStartPost": ("ExecStartPost={command}\n", "", lambda old, new: {old: "ready", new: "starting"}),
    "draining": ("", "linger={gate}", lambda old, new: {old: "draining", new: "ready"}),
    "ExecStop": ("ExecStop={command}\n", "", lambda old, new: {old: "draining", new: "ready"}),
    "ExecStopPost": ("ExecStopPost={command}\n", "", lambda old, new: {old: "draining", new: "ready"}),
    "stop-first": ("Handover=stop-first\n", "linger={gate}", lambda old, new: {old: "draining"}),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_restart_goes_on_whatever_becomes_of_the_broker(scene, tmp_path, moment):
    directives, words, states = MOMENTS[moment]
    gate, record = tmp_path / "gate", tmp_path / "record"
    filled = {"command": command(record, gate), "gate": gate}
    s = scene(NOTIFY + directives.format(**filled))
    s.wait_state("hermes", "ready")
    for old, way in enumerate(WAYS, 1):
        s.do("hermes", words.format(**filled))
        if "linger" in words and old == 1:
            s.receipt("RESTART", "hermes")  # the first one was not told
        old, = s.pids("hermes")
        gate.touch()
        begun = lines(record)
        waits = Command(s, "restart", "hermes")
        until(lambda: {g: state for (g, _), state in s.instances("hermes").items()} == states(old, old + 1) and
              (not directives.startswith("Exec") or lines(record) == begun + 1), lambda: f"{moment}: {s.instances('hermes')}")
        pids = s.pids("hermes")
        way(s)
        assert {g: state for (g, _), state in s.instances("hermes").items()} == states(old, old + 1), s.broker.log()
        for generation, pid in s.pids("hermes").items():
            assert pid == pids[generation], "it is another process"
        gate.unlink()
        receipt = waits.receipt()
        assert (receipt["verdict"], receipt["generation_before"], receipt["generation"]) == ("serves", old, old + 1), \
            (receipt, s.broker.log())
        assert receipt["drained"] and not receipt["killed"]
        assert s.instances("hermes") == {(old + 1, 0): "ready"}
        assert s.generation("hermes") == old + 1
        if directives.startswith("Exec"):
            assert lines(record) == begun + 1, "the command ran twice"
        wait_no_zombies(*s.broker.pids())


@pytest.mark.parametrize("way", [kill_broker, upgrade], ids=["killed", "upgraded"])
def test_a_generation_that_fails_while_the_broker_is_away_is_not_started_again(scene, tmp_path, way):
    s = scene(NOTIFY)
    s.wait_state("hermes", "ready")
    gate = s.file("gate")
    s.do("hermes", f"starts-while={gate} exit=3")
    s.do("hermes", "", "DO2=1")
    s.components["hermes"] = NOTIFY + f"ExecStart=/bin/sh -c 'while [ -e {gate} ]; do sleep 0.01; done; exit 7'\n"
    s.apply()
    waits = Command(s, "restart", "hermes")
    until(lambda: s.instances("hermes").get((2, 0)) == "starting", "generation 2")
    pid = s.pids("hermes")[2]
    broker, keeper = s.broker.pids()
    if way is kill_broker:
        os.kill(keeper, signal.SIGSTOP)
        end(broker)
        gate.unlink()
        os.kill(keeper, signal.SIGCONT)
    else:
        way(s)
        gate.unlink()
    receipt = waits.receipt()
    assert (receipt["verdict"], receipt["generation"]) == ("kept", 2), s.broker.log()
    assert receipt["reason"] == "exited with status 7 before it was ready"
    assert s.instances("hermes") == {(1, 0): "ready"} and not alive(pid)
    assert "generation 3" not in s.broker.log()


def test_the_same_job_gives_the_one_verdict(scene):
    s = scene(NOTIFY)
    s.wait_state("hermes", "ready")
    assert s.receipt("RESTART", "hermes", JOB="once")["generation"] == 2
    for way in WAYS[:3]:
        way(s)
        receipt = s.receipt("RESTART", "hermes", JOB="once")
        assert (receipt["verdict"], receipt["generation_before"], receipt["generation"]) == ("serves", 1, 2)
        assert receipt["drained"] and receipt["ready_by"]
    assert s.instances("hermes") == {(2, 0): "ready"}


def test_a_failed_job_gives_the_one_verdict_with_its_last_lines(scene):
    s = scene(NOTIFY)
    s.wait_state("hermes", "ready")
    s.do("hermes", "exit=3")
    before = s.receipt("RESTART", "hermes", JOB="once")
    kill_broker(s)
    after = s.receipt("RESTART", "hermes", JOB="once")
    assert before == after
    assert after["verdict"] == "kept" and after["last_lines"][-1] == "cannot open the database"


def test_killed_at_some_moment_of_a_restart_under_load(scene):
    """Later and later, so that every moment has its turn. Nothing is refused, doubled or left behind."""
    name = f"hermes{os.getpid()}"  # cgroups of its own
    s = scene(NOTIFY, name)
    s.wait_state(name, "ready")
    kill_broker(s)
    counts, sizes = set(), []
    keeper = s.broker.pids()[1]
    folders = len(os.listdir(s.broker.folder))
    with Load(s.addresses[name], request=REQUEST, threads=2) as load:
        load.wait_served(5)
        for n in range(KILLS):
            generation = max(g for g, _ in s.instances(name))
            pid = s.broker.broker_pid
            waits = Command(s, "restart", name)
            select.select([], [], [], 0.12 * n / KILLS)  # the moment is what is tried
            end(pid)
            receipt = waits.receipt()
            assert receipt["verdict"] == "serves", (receipt, s.broker.log()[-3000:])
            assert receipt["generation_before"] == generation
            assert generation < receipt["generation"] <= generation + 2
            assert s.instances(name) == {(receipt["generation"], 0): "ready"}
            assert s.generation(name) == receipt["generation"]
            broker = s.broker.broker_pid
            wait_no_zombies(broker, keeper)
            sizes.append(resident(keeper))
        load.wait_served(5)
    assert load.refused == 0 and not load.others, str(load)
    assert load.made == load.served, str(load)
    for _ in range(2):
        kill_broker(s)
        s.state(name)
        counts.add(tuple(fds_at_rest(p) for p in (s.broker.broker_pid, keeper)))
    assert len(counts) == 1, counts
    assert len(os.listdir(s.broker.folder)) == folders, os.listdir(s.broker.folder)
    assert len(cgroups(name)) <= 1, cgroups(name)
    if memory_is_measurable():
        assert max(sizes[len(sizes) // 2:]) < min(sizes) + 1024, f"KiB resident in the keeper: {sizes}"


# ---- other things under way ------------------------------------------------------------------------------------


def test_what_serves_goes_on_and_is_still_supervised(scene):
    s = scene(NOTIFY + "Restart=always\nRestartSec=10ms\nStartLimitIntervalSec=0\n")
    s.wait_state("hermes", "ready")
    for way in WAYS:
        before = s.component("hermes")
        (generation, pid), = s.pids("hermes").items()
        way(s)
        after = s.component("hermes")
        assert after["instances"][0]["pid"] == pid and after["state"] == "ready"
        for key in ("ready_ms", "since_usec", "generation"):
            assert after["instances"][0][key] == before["instances"][0][key], key
        leases = s.broker.leases("hermes")
        assert list(leases) == [pid] and leases[pid]["how"] == "generation"
        os.kill(pid, signal.SIGKILL)
        until(lambda g=generation: s.instances("hermes") == {(g + 1, 0): "ready"}, "the next generation")
        assert s.component("hermes")["last_end"]["text"] == "killed by SIGKILL"
        wait_no_zombies(*s.broker.pids())


@pytest.mark.parametrize("status, text", [(7, "exited with status 7"), (-11, "killed by SIGSEGV")])
def test_an_end_while_the_broker_is_away_is_seen_with_its_status(scene, tmp_path, status, text):
    gate = tmp_path / "gate"
    gate.touch()
    last = f"exit {status}" if status > 0 else f"kill {status} $$$$"
    s = scene(f"ExecStart=/bin/sh -c 'while [ -e {gate} ]; do sleep 0.01; done; {last}'\nSockets=\n"
              "Restart=on-failure\nRestartSec=60s\n")
    s.wait_state("hermes", "ready")
    pid = s.pids("hermes")[1]
    broker, keeper = s.broker.pids()
    os.kill(keeper, signal.SIGSTOP)
    end(broker)
    gate.unlink()
    until(lambda: not alive(pid), "its end")
    os.kill(keeper, signal.SIGCONT)
    component = s.wait_state("hermes", "back-off")
    assert component["last_end"]["text"] == text, s.broker.log()
    assert 50000 < component["back_off_ms"] <= 60000


def test_a_back_off_is_what_was_left_of_it(scene):
    ways = [kill_broker, upgrade]
    s = scene("ExecStart=/bin/false\nSockets=\nStart=manual\nRestart=always\nRestartSteps=0\n")
    began = time.monotonic()
    for way in ways:
        way(s)
    seconds = 4 + int(5 * (time.monotonic() - began))  # for the same once more, on a machine that is as busy
    s.components["hermes"] += f"RestartSec={seconds}\n"
    s.apply()
    began = time.monotonic()
    s.broker.fdpass("start", "hermes", check=False)
    before = s.wait_state("hermes", "back-off")
    seen = time.monotonic()
    for n, way in enumerate(ways, 1):
        until(lambda n=n: time.monotonic() > seen + 0.5 * n, "some of it")
        passed = (time.monotonic() - seen) * 1000
        way(s)
        component = s.component("hermes")
        assert component["state"] == "back-off" and component["restarts"] == before["restarts"], s.broker.log()
        assert component["back_off_ms"] <= before["back_off_ms"] - passed + 1, "it began anew"
    until(lambda: s.component("hermes")["restarts"] == before["restarts"] + 1, "the next start", DEADLINE + seconds)
    assert time.monotonic() - began > seconds - 0.1


def test_the_start_limit_counts_on(scene):
    s = scene("ExecStart=/bin/false\nSockets=\nRestart=always\nRestartSec=200ms\nRestartSteps=0\n"
              "StartLimitIntervalSec=1h\nStartLimitBurst=4\n")
    while s.state("hermes") != "failed":
        kill_broker(s)
        assert s.component("hermes")["generation"] <= 6, s.broker.log()
    assert "started too often" in s.component("hermes")["reason"]
    kill_broker(s)
    assert s.state("hermes") == "failed"


def test_a_start_is_too_slow_when_it_would_have_been(scene):
    s = scene(NOTIFY + "TimeoutStartSec=4s\n")
    s.wait_state("hermes", "ready")
    s.do("hermes", "never")
    began = time.monotonic()
    waits = Command(s, "restart", "hermes")
    until(lambda: s.instances("hermes").get((2, 0)) == "starting", "generation 2")
    pid, broker = s.pids("hermes")[2], s.broker.broker_pid
    until(lambda: time.monotonic() > began + 3, "most of its time")
    assert seconds_to_end(pid, lambda: end(broker)) < 3.9, "its time began anew"
    receipt = waits.receipt()
    assert receipt["verdict"] == "kept" and "TimeoutStartSec=" in receipt["reason"]


def test_a_drain_ends_when_it_would_have(scene):
    s = scene(NOTIFY + "TimeoutStopSec=4s\n")
    s.do("hermes", "ignore-term")
    s.receipt("RESTART", "hermes")
    began = time.monotonic()
    waits = Command(s, "stop", "hermes")
    s.wait_state("hermes", "draining")
    pid, broker = s.pids("hermes")[2], s.broker.broker_pid
    until(lambda: time.monotonic() > began + 3, "most of its time")
    upgrades = []
    took = seconds_to_end(pid, lambda: (end(broker), upgrades.append(Command(s, "upgrade", FDPASSD))))
    assert took < 3.9, "its time began anew"
    receipt = waits.receipt()
    assert receipt["verdict"] == "done" and receipt["killed"]
    assert receipt["drain_ms"] >= 3900
    assert upgrades[0].finish()[0] == 0, s.broker.log()


def test_who_was_told_to_stop_is_not_told_again(scene):
    s = scene(NOTIFY)
    s.do("hermes", f"linger={s.file('gate')}")
    s.receipt("RESTART", "hermes")
    waits = Command(s, "stop", "hermes")
    s.wait_log("asked to stop", 2)  # generation 1 was, by the restart
    for way in WAYS[:3]:
        way(s)
        assert s.state("hermes") == "draining"
    (s.folder / "gate").unlink()
    assert waits.receipt()["verdict"] == "done"
    assert s.lines("hermes").count("asked to stop") == 1 + 1
    assert s.broker.log().count("asked to stop") == 1 + 1  # generation 1 and generation 2


def test_on_demand_waits_on(scene):
    s = scene(NOTIFY + "Start=on-demand\n")
    for way in WAYS[:3]:
        s.wait_state("hermes", "waiting")
        way(s)
        assert s.state("hermes") == "waiting"
    assert s.generation("hermes") == 1
    s.wait_state("hermes", "ready")
    assert s.instances("hermes") == {(1, 0): "ready"}


def test_on_demand_sees_a_connection_on_the_socket_that_is_there_now(scene, tmp_path):
    """A Unix listener that a holder shut down is another socket; one that apply added is one more."""
    web, more = tmp_path / "web.sock", tmp_path / "more.sock"
    sections = [f"[Socket web]\nListenStream={web}\n", f"[Socket more]\nListenStream={more}\n"]
    s = scene(NOTIFY + "Start=on-demand\nSockets=web\n", more=sections[0])
    for generation, path in enumerate([web, more], 1):
        s.wait_state("hermes", "waiting")
        if path is web:
            inode = s.broker.inode("web")
            with s.broker.client() as client, client.acquire("web") as listener:
                listener.shutdown(socket.SHUT_RDWR)
            until(lambda: s.broker.inode("web") != inode, "another socket")
        else:
            s.more = "".join(sections)
            s.components["hermes"] += "Sockets=web more\n"
            s.apply()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(DEADLINE)
            connection.connect(str(path))
            connection.sendall(REQUEST)
            assert s.read(connection)["generation"] == str(generation)
        s.wait_state("hermes", "ready")
        s.do("hermes", "")
        os.kill(s.pids("hermes")[generation], signal.SIGTERM)


def test_a_reload_goes_on(scene, tmp_path):
    gate, record = tmp_path / "gate", tmp_path / "record"
    s = scene(NOTIFY + f"ExecReload={command(record, gate)}\n")
    s.wait_state("hermes", "ready")
    for n, way in enumerate(WAYS[:3], 1):
        gate.touch()
        waits = Command(s, "reload", "hermes")
        until(lambda n=n: lines(record) == n, "the command")
        way(s)
        gate.unlink()
        assert waits.receipt()["verdict"] == "done", s.broker.log()
        assert lines(record) == n
        assert s.instances("hermes") == {(1, 0): "ready"}


@pytest.mark.parametrize("verb, state", [("stop", "stopped"), ("pause", "paused")])
def test_what_was_stopped_stays_so(scene, verb, state):
    s = scene(NOTIFY)
    s.wait_state("hermes", "ready")
    s.do("hermes", f"linger={s.file('gate')}")
    s.receipt("RESTART", "hermes")
    waits = Command(s, verb, "hermes")
    s.wait_state("hermes", "draining")
    kill_broker(s)
    (s.folder / "gate").unlink()
    assert waits.receipt()["verdict"] == "done"
    for way in WAYS[:3]:
        assert s.state("hermes") == state
        way(s)
    assert s.state("hermes") == state and s.instances("hermes") == {}
    connection = socket.create_connection(s.addresses["hermes"])  # its listener is held
    connection.sendall(REQUEST)
    s.broker.fdpass("start", "hermes")
    assert s.read(connection)["generation"] == "3"
    connection.close()


def test_output_notify_health_and_watchdog_go_on(scene, tmp_path):
    s = scene(NOTIFY + "Restart=always\nRestartSec=10ms\nStartLimitIntervalSec=0\n")
    soon = s.soon_ms("hermes", least=3000)
    s.components["hermes"] += (f"WatchdogSec={soon}ms\nHealthCheck=http:/\nHealthCheckIntervalSec=50ms\n"
                               "HealthCheckFailures=2\n")
    s.apply()
    sick, unfed = tmp_path / "gate-sick", tmp_path / "gate-unfed"
    words = f"feed sick={sick} unfed={unfed}"
    s.do("hermes", words)
    s.wait_state("hermes", "ready")
    s.receipt("RESTART", "hermes")
    for n, way in enumerate(WAYS[:3], 1):
        way(s)
        pid = s.component("hermes")["instances"][0]["pid"]
        os.kill(pid, signal.SIGHUP)
        until(lambda n=n: s.lines("hermes").count("reloads") == n, "the line")
    way = kill_broker
    way(s)
    sick.touch()
    s.wait_log("generation 2 is not healthy")
    until(lambda: any(g > 2 for g, _ in s.instances("hermes")), "the next generation")
    sick.unlink()
    until(lambda: list(s.instances("hermes").values()) == ["ready"], "it alone")
    unfed.touch()
    way(s)  # the next broker is never fed
    s.wait_log(f"no WATCHDOG=1 for {soon} ms")
    unfed.unlink()
    until(lambda: list(s.instances("hermes").values()) == ["ready"], "it alone")


def test_what_it_says_of_itself_is_still_shown(scene):
    s = scene(NOTIFY)
    s.do("hermes", f"busy={s.folder / 'gate'}")
    assert s.receipt("RESTART", "hermes")["verdict"] == "serves"
    shown = {key: s.component("hermes")["instances"][0][key] for key in ("ready_by", "ready_ms")}
    assert shown["ready_by"]
    s.file("gate")
    until(lambda: s.component("hermes")["instances"][0]["status"] == "busy", "its word")
    (s.folder / "gate").unlink()
    for way in WAYS[:3]:
        way(s)
        after = s.component("hermes")["instances"][0]
        assert after["adopted"] and after["status"] == "busy" and {key: after[key] for key in shown} == shown


# ---- the end of the broker -------------------------------------------------------------------------------------


def test_told_to_end_it_stops_components_first(scene):
    s = scene(NOTIFY)
    s.do("hermes", f"linger={s.file('gate')}")
    s.receipt("RESTART", "hermes")
    pid = s.pids("hermes")[2]
    s.broker.process.send_signal(signal.SIGTERM)
    s.wait_state("hermes", "draining")
    refused = s.broker.fdpass("start", "hermes", check=False)
    assert refused.returncode == 1 and "the broker is ending" in refused.stderr
    (s.folder / "gate").unlink()
    assert s.broker.process.wait(DEADLINE) == 0
    assert not alive(pid)
    assert "generation 3" not in s.broker.log()


@pytest.mark.parametrize("whom", ["keeper", "broker"])
@pytest.mark.parametrize("words, directives", [("linger={}", ""), ("ignore-term", "TimeoutStopSec={}ms\n")])
def test_told_to_end_and_killed_on_the_way_the_next_finishes_it(scene, whom, words, directives):
    """SIGTERM is not said twice, and what is left of TimeoutStopSec= stays bounded."""
    s = scene(NOTIFY)
    s.components["hermes"] += directives.format(s.soon_ms("hermes", least=2000))
    s.apply()
    s.do("hermes", words.format(s.file("gate")))
    s.receipt("RESTART", "hermes")
    pid, broker = s.pids("hermes")[2], s.broker.broker_pid
    os.kill(s.broker.process.pid if whom == "keeper" else broker, signal.SIGTERM)
    s.wait_state("hermes", "draining")
    end(broker)
    s.wait_log("ending by SIGTERM", 2)
    assert alive(pid)
    (s.folder / "gate").unlink()
    assert s.broker.process.wait(DEADLINE) == 0, s.broker.log()
    assert not alive(pid)
    assert s.broker.log().count("asked to stop") == 2  # each generation once
    assert "generation 3" not in s.broker.log()


def test_told_to_end_it_loses_its_keeper_and_is_killed_and_the_next_finishes_it(scene):
    """The keeper that it makes meanwhile has not heard the signal."""
    s = scene(NOTIFY)
    s.do("hermes", f"linger={s.file('gate')}")
    s.receipt("RESTART", "hermes")
    pid, broker = s.pids("hermes")[2], s.broker.broker_pid
    os.kill(broker, signal.SIGTERM)
    s.wait_state("hermes", "draining")
    kill_keeper(s)
    s.wait_log("a new keeper has")
    keeper = os.pidfd_open(s.broker.pids()[1])
    try:
        end(broker)
        s.wait_log("ending by SIGTERM", 2)
        assert alive(pid)
        (s.folder / "gate").unlink()
        assert select.select([keeper], [], [], DEADLINE)[0], s.broker.log()
    finally:
        os.close(keeper)
    assert not alive(pid)
    assert "generation 3" not in s.broker.log()


#: What an interactive shell does: a session and a terminal of its own.
ON_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(os.open(sys.argv[1], os.O_RDWR), termios.TIOCSCTTY, 0)
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_ctrl_c_is_one_signal_though_the_terminal_tells_two(broker, tmp_path):
    terminal, other_side = pty.openpty()
    s = Scene(broker, tmp_path, {"hermes": NOTIFY}, wrapper=[sys.executable, "-c", ON_TERMINAL, os.ttyname(other_side)])
    gate = s.file("gate")
    s.do("hermes", f"linger={gate}")
    s.receipt("RESTART", "hermes")
    pid, keeper = s.pids("hermes")[2], s.broker.process.pid
    os.kill(keeper, signal.SIGSTOP)  # so that what it forwards comes after the terminal's own
    os.write(terminal, b"\x03")
    s.wait_log("ending by SIGINT", 1)
    os.kill(keeper, signal.SIGCONT)
    s.wait_log("ending by SIGINT", 2)
    assert s.state("hermes") == "draining" and alive(pid)
    gate.unlink()
    assert s.broker.process.wait(DEADLINE) == 0, s.broker.log()
    assert "SIGKILL" not in s.broker.log()
    os.close(terminal)
    os.close(other_side)


def test_told_so_again_it_kills_them(broker, tmp_path):
    """Those too that were to be stopped after others."""
    slow = NOTIFY + "TimeoutStopSec=100\n"
    s = Scene(broker, tmp_path, {"engram": slow, "hermes": slow + "After=engram\n"})
    pids = []
    for name in s.components:
        s.do(name, "ignore-term")
        s.receipt("RESTART", name)
        pids += s.pids(name).values()
    s.broker.process.send_signal(signal.SIGTERM)
    s.wait_state("hermes", "draining")
    assert s.state("engram") == "ready"
    s.broker.process.send_signal(signal.SIGTERM)
    assert s.broker.process.wait(DEADLINE) == 0
    assert not any(alive(pid) for pid in pids)


def test_StopComponents_no_leaves_them(scene):
    s = scene(NOTIFY, more="[Broker]\nStopComponents=no\n")
    s.wait_state("hermes", "ready")
    pid = s.pids("hermes")[1]
    s.broker.process.send_signal(signal.SIGTERM)
    assert s.broker.process.wait(DEADLINE) == 0
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_as_pid_1_it_ends_with_its_components(broker, tmp_path, number):
    wrapper = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*wrapper, "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode:
        pytest.skip("this container may not make namespaces")
    s = Scene(broker, tmp_path, {"hermes": NOTIFY}, wrapper=wrapper)
    s.wait_state("hermes", "ready")
    init, = children_of(s.broker.pid)
    inside = ["nsenter", "-t", str(init), "-p", "-m"]
    serving = s.component("hermes")["instances"][0]["pid"]
    subprocess.run([*inside, "kill", "-KILL", str(s.broker.broker_pid)], stdin=subprocess.DEVNULL, check=True)
    until(lambda: s.component("hermes")["instances"][0]["adopted"], "another broker")
    assert s.component("hermes")["instances"][0]["pid"] == serving
    subprocess.run([*inside, "kill", "-SEGV", str(serving)], stdin=subprocess.DEVNULL, check=True)
    until(lambda: s.instances("hermes") == {(2, 0): "ready"}, "the next generation")
    assert s.component("hermes")["last_end"]["text"].startswith("killed by SIGSEGV")
    os.kill(init, number)
    s.broker.process.wait(DEADLINE)
    with socket.socket() as peer:
        assert peer.connect_ex(s.addresses["hermes"]) != 0
    if number == signal.SIGTERM:
        assert s.broker.process.returncode == 0
        assert "hermes: bye" in s.broker.log()  # it was asked to


def test_what_drains_of_a_removed_component_is_ended_by_the_next_broker(broker, tmp_path):
    s = Scene(broker, tmp_path, {"hermes": NOTIFY + "TimeoutStopSec=4\n", "iris": ""})
    s.wait_state("hermes", "ready")
    s.do("hermes", "ignore-term")
    assert s.receipt("RESTART", "hermes")["verdict"] == "serves"
    pid = s.pids("hermes")[2]
    del s.components["hermes"]
    began = time.monotonic()
    s.apply()
    s.wait_state("hermes", "draining")
    broker = s.broker.broker_pid
    until(lambda: time.monotonic() > began + 3, "most of its time")
    # Its deadline is kept; all else that was configured is gone.
    assert seconds_to_end(pid, lambda: end(broker)) < 3.9, "its time began anew"
    assert time.monotonic() - began > 3.9
    s.wait_log("hermes is not configured any more", 2)
    until(lambda: s.component("hermes") is None, "hermes to be gone")


def test_what_a_health_command_forked_ends_with_the_broker_that_ran_it(scene, tmp_path):
    hang, record = tmp_path / "hang", tmp_path / "sleeper"
    script = tmp_path / "health.sh"
    script.write_text(f"rm {hang} 2>/dev/null || exit 0\nsleep 1000 &\necho $! > {record}.new\nmv {record}.new {record}\nwait\n")
    s = scene(NOTIFY + f"HealthCheck=exec:/bin/sh {script}\nHealthCheckIntervalSec=100ms\nHealthCheckTimeoutSec=1h\n")
    if "in cgroups of their own" not in s.broker.log():
        pytest.skip("no cgroup v2 that may be written")
    pid, = s.pids("hermes").values()
    hang.touch()
    until(record.exists, "the health command")
    sleeper = int(record.read_text())
    assert alive(sleeper)
    kill_broker(s)
    until(lambda: not alive(sleeper), "the end of what it forked")
    assert list(s.pids("hermes").values()) == [pid] and alive(pid)
    hang.touch()
    until(lambda: not hang.exists(), "the next health command")
