"""The life of components: started in order, handed over, kept, paused, started again, supervised."""
import os
import re
import signal
import socket
import time

import pytest

from testing.broker import DEADLINE, free_address
from testing.load import Load
from testing.process import alive, until, wake_ups
from testing.scene import REQUEST, SERVER, Scene

NOTIFY = "Type=notify\n"
#: Comes back at once, and as often as it likes.
TIRELESS = "Restart=always\nRestartSec=10ms\nRestartSteps=0\nStartLimitIntervalSec=0\n"


@pytest.fixture
def scene(broker, tmp_path):
    return lambda components, **kwargs: Scene(broker, tmp_path, components, **kwargs)


def waiting_connection(address, path="/"):
    connection = socket.create_connection(address, timeout=DEADLINE)
    connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    return connection


# ---- order -----------------------------------------------------------------------------------------------------


def test_components_start_after_those_they_come_after_and_stop_before_them(scene):
    manual = NOTIFY + "Start=manual\n"
    s = scene({"engram": manual, "hermes": manual + "After=engram\nRequires=engram\n", "iris": manual})
    gate = s.file("gate")
    s.do("engram", f"starts-while={gate}")
    job = s.job("START", "hermes", "iris")
    job.step("ready", "iris")  # is not held up by the other two
    assert s.state("engram") == "starting" and s.instances("hermes") == {}
    gate.unlink()
    receipts = job.wait()
    assert [receipts[name]["verdict"] for name in ("engram", "hermes", "iris")] == ["serves"] * 3
    assert (receipts["engram"]["asked_for"], receipts["hermes"]["asked_for"]) == (False, True)
    steps = job.steps()
    assert steps.index(("engram", "ready", 1)) < steps.index(("hermes", "starting", 1))
    s.do("hermes", f"linger={s.file('hold')}")
    s.receipt("RESTART", "hermes")
    job = s.job("STOP", ALL=1)
    job.step("draining", "hermes")
    s.wait_state("iris", "stopped")
    assert s.instances("engram") == {(1, 0): "ready"}
    (s.folder / "hold").unlink()
    job.wait()
    steps = job.steps()
    assert steps.index(("hermes", "ended", 2)) < steps.index(("engram", "draining", 1))


def test_what_a_component_requires_failed_so_it_is_skipped(scene):
    manual = NOTIFY + "Start=manual\nRestart=no\n"
    s = scene({"engram": manual, "hermes": manual + "After=engram\nRequires=engram\n",
               "iris": manual + "After=engram\nWants=engram\n"})
    s.do("engram", "exit=3")
    receipts = s.job("START", "hermes", "iris").wait()
    assert {name: one["verdict"] for name, one in receipts.items()} == \
        {"engram": "failed", "hermes": "skipped", "iris": "serves"}
    assert receipts["hermes"]["reason"] == "it requires engram, which failed"
    assert s.component("hermes")["instances"] == []
    assert s.component("engram")["state"] == "failed"


def test_what_is_part_of_another_is_stopped_and_restarted_with_it(scene):
    s = scene({"engram": NOTIFY, "hermes": NOTIFY + "PartOf=engram\nAfter=engram\n",
               "iris": NOTIFY + "Start=manual\nPartOf=engram\n"})
    receipts = s.job("RESTART", "engram").wait()
    assert {name: (one["verdict"], one["asked_for"], one["generation"]) for name, one in receipts.items()} == \
        {"engram": ("serves", True, 2), "hermes": ("serves", False, 2)}
    receipts = s.job("STOP", "engram").wait()
    assert {name: one["verdict"] for name, one in receipts.items()} == {"engram": "done", "hermes": "done"}
    assert s.state("hermes") == "stopped"
    assert s.job("RESTART", "engram").wait().keys() == {"engram"}  # it was stopped, and stays so


# ---- hand-over -------------------------------------------------------------------------------------------------


def test_restarts_under_load_lose_no_connection(scene):
    s = scene({"hermes": NOTIFY})
    with Load(s.addresses["hermes"], request=REQUEST) as load:
        load.wait_served(20)
        for generation in range(2, 6):
            receipt = s.receipt("RESTART", "hermes")
            assert (receipt["verdict"], receipt["generation_before"], receipt["generation"]) == \
                ("serves", generation - 1, generation)
            assert receipt["drained"] and not receipt["killed"] and receipt["drops"] == 0
            load.wait_served(20)
    assert load.made == load.served, str(load)
    assert s.instances("hermes") == {(5, 0): "ready"}


#: Scene.soon() in its place, of that generation alone: those that are to serve have the time that a busy machine takes.
SOON = "TimeoutStartSec=soon\n"
#: What the next generation is told, directives, and why the old one is kept.
KEPT = {
    "exits": ("exit=3", NOTIFY, r"exited with status 3 before it was ready"),
    "killed": ("kill-self=SIGKILL", NOTIFY, r"killed by SIGKILL before it was ready"),
    "hangs": ("never", NOTIFY + SOON, r"not ready within TimeoutStartSec="),
    "exits, exec": ("exit=3", "HealthCheck=http:/\n", r"exited with status 3 before it was ready"),
    "is deaf": ("deaf", NOTIFY + "HealthCheck=http:/\n" + SOON,
                r"not healthy within TimeoutStartSec= .*; last: accepted, but by no process of this generation"),
    "is deaf, tcp": ("deaf", "HealthCheck=tcp\n" + SOON, r"not healthy within TimeoutStartSec="),
    "is deaf, by its word": ("deaf", NOTIFY + SOON,
                             r"not seen to accept within TimeoutStartSec= \(.* s\): it said READY=1 and accepted none "
                             r"of \d+ connections \(others accepted \d+\); if that is meant, set HealthCheck=no"),
    "hangs in its loop": ("stuck", NOTIFY + SOON,
                          r"not seen to accept within TimeoutStartSec= \(.* s\): it said READY=1 and accepted none"),
    "is deaf, exec": ("deaf", SOON, r"\([\d.]+ s\): it runs and accepted none of \d+ connections"),
    "is sick": ("sick=/", "HealthCheck=http:/\n" + SOON, r"not healthy within"),
    "command fails": ("", "HealthCheck=exec:/bin/sh -c 'exit $SICK'\n" + SOON, r"not healthy within"),
}


@pytest.mark.parametrize("words, directives, reason", KEPT.values(), ids=KEPT)
def test_a_generation_that_does_not_serve_leaves_the_old_one_serving(scene, words, directives, reason):
    patient = "Start=manual\n" + directives.replace(SOON, "")
    s = scene({"hermes": patient})
    s.do("hermes", "", "SICK=0\n")
    assert s.receipt("START", "hermes")["verdict"] == "serves"
    s.components["hermes"] = "Start=manual\n" + directives.replace(SOON, s.soon("hermes"))
    s.apply()
    s.do("hermes", "say=3 " + words, "SICK=1\n")
    with Load(s.addresses["hermes"], threads=1, request=REQUEST) as load:
        job = s.job("RESTART", "hermes")
        receipt = job.wait()["hermes"]
        load.wait_served(5)
        assert (receipt["verdict"], receipt["generation_before"]) == ("kept", 1)
        assert receipt["generation"] == 2
        assert re.search(reason, receipt["reason"]), receipt
        assert [line for line in receipt["last_lines"] if line.startswith("line")] == ["line 0", "line 1", "line 2"]
        assert job.document["result"] == "bad"
        s.do("hermes", "")
        until(lambda: s.instances("hermes") == {(1, 0): "ready"}, "the end of the second")
    # While a deaf one was there, nobody was cut: what it had taken nobody had.
    assert (load.refused, load.cut, load.others) == (0, 0, {}), str(load)
    assert s.component("hermes")["goal"] == "running"
    s.components["hermes"] = patient
    s.apply()
    s.do("hermes", "", "SICK=0\n")
    assert s.receipt("RESTART", "hermes")["generation"] == 3
    assert s.generation("hermes") == 3


#: The connection, ours or another one, was found in its hands before the probe itself had found that out.
ACCEPTED = "having accepted a connection"


def on_a_unix_path(s_folder, directives):
    """A component whose listener is a path: its directives, what else the configuration has, and the path."""
    path = str(s_folder / "web.sock")
    return "Sockets=path\n" + directives, f"[Socket path]\nListenStream={path}\n", path


def test_a_deaf_generation_on_a_unix_path_leaves_the_old_one_serving(scene, tmp_path):
    directives, more, path = on_a_unix_path(tmp_path, NOTIFY)
    s = scene({"hermes": directives}, more=more)
    s.do("hermes", "deaf")
    with Load(path, threads=2, request=REQUEST) as load:
        load.wait_served(5)
        s.components["hermes"] = directives + s.soon("hermes")
        s.apply()
        receipt = s.receipt("RESTART", "hermes")
        load.wait_served(5)
    assert (receipt["verdict"], receipt["generation_before"]) == ("kept", 1)
    assert re.search(r"it said READY=1 and accepted none of \d+ connections", receipt["reason"]), receipt
    assert load.made == load.served, str(load)


def test_what_the_old_one_answered_while_the_new_one_came_up_says_nothing_of_its_health(scene):
    s = scene({"hermes": "Type=exec\nHealthCheck=http:/\n"})
    s.wait_state("hermes", "ready")
    s.components["hermes"] += s.soon("hermes", least=8000)
    s.apply()
    sick, gate = s.file("sick"), s.file("gate")
    s.do("hermes", f"sick={sick} starts-while={gate}")
    job = s.job("RESTART", "hermes").step("starting")
    until(lambda: int(s.ask("hermes", "/count")["answered"]) > 120 or job.is_over(),  # a machine that made fewer
          "many probes to be answered by the old one")
    gate.unlink()
    receipt = job.wait()["hermes"]
    assert (receipt["verdict"], receipt["generation"]) == ("kept", 2), receipt
    # On a busy machine the old one may be quicker to accept each time.
    assert re.search("last: (HTTP status 500 from /|accepted, but by no process of this)", receipt["reason"]), receipt


@pytest.mark.parametrize("kind", ["notify", "exec"])
@pytest.mark.parametrize("words", ["asks=0.7", "asks=0"])
def test_who_accepts_unseen_is_found_by_a_connection(scene, kind, words):
    """As with io_uring: nothing that the kernel shows of it says that it waits."""
    s = scene({"hermes": f"Type={kind}\nTimeoutStartSec=25s\nStart=manual\n"})  # of which it is not asked for five
    s.do("hermes", words)
    for verb, generation in (("START", 1), ("RESTART", 2)):  # alone, and beside one that is like it
        receipt = s.receipt(verb, "hermes")
        assert (receipt["verdict"], receipt["generation"]) == ("serves", generation), receipt
        assert receipt["ready_by"] in (f"accepted by pid {s.pids('hermes')[generation]}", ACCEPTED), receipt
        assert s.ask("hermes")["generation"] == str(generation)
    s.components["hermes"] += "Handover=stop-first\n"
    s.apply()
    with Load(s.addresses["hermes"], threads=2, request=REQUEST) as load:
        receipt = s.receipt("RESTART", "hermes")
        load.wait_served(2)
    assert receipt["verdict"] == "serves" and load.made == load.served, (receipt, str(load))


def test_who_accepts_unseen_on_the_second_of_its_listeners_or_on_a_unix_path_is_ready(scene, tmp_path):
    directives, more, path = on_a_unix_path(tmp_path, NOTIFY + "Start=manual\n")
    address = free_address()
    s = scene({"path": directives, "two": NOTIFY + "Start=manual\nSockets=path never\n",
               "other": NOTIFY + "Start=manual\nSockets=never path\n"},
              more=more + "[Socket never]\nListenStream=%s:%d\n" % address)
    for name, words in (("path", "asks=0"), ("two", "asks=0 listener=1"), ("other", "asks=0 listener=1")):
        s.do(name, words)
        receipt = s.receipt("START", name)
        assert receipt["verdict"] == "serves", receipt
        # A lock that another one has for a moment makes it wait in accept() after all.
        assert receipt["ready_by"].startswith("accepted by pid") or \
            receipt["ready_by"] in (ACCEPTED, "waiting for connections"), receipt
        s.receipt("STOP", name)


def test_who_serves_one_connection_for_long_is_ready_by_it(scene):
    """Started by that connection, and it asks for no other meanwhile."""
    s = scene({"hermes": NOTIFY + "Start=on-demand\n"})
    s.do("hermes", f"asks=0 hold={s.file('hold')}")
    with waiting_connection(s.addresses["hermes"], "/hold") as held:
        s.wait_state("hermes", "ready", "failed", "back-off")
        assert s.component("hermes")["instances"][0]["ready_by"] == ACCEPTED
        (s.folder / "hold").unlink()
        assert s.read(held)["generation"] == "1"


def test_whose_word_is_to_be_enough_is_ready_at_once(scene):
    s = scene({"notify": NOTIFY + "HealthCheck=no\nStart=manual\n", "exec": "HealthCheck=no\nStart=manual\n"})
    for name, word in (("notify", "its own word (READY=1)"), ("exec", "its own word: it runs")):
        s.do(name, "deaf")
        receipt = s.receipt("START", name)
        assert (receipt["verdict"], receipt["ready_by"]) == ("serves", word), receipt
        assert s.broker.listener(name)["sockets"][0]["queue"]["length"] == 0  # nobody asked it
        s.do(name, "")
        assert s.receipt("RESTART", name)["verdict"] == "serves"


def test_connections_that_ask_who_never_accepts_do_not_fill_its_queue(scene):
    s = scene({"hermes": NOTIFY + TIRELESS + "Start=manual\n"})
    s.receipt("START", "hermes")
    soon = s.soon_ms("hermes", least=1000)
    s.receipt("STOP", "hermes")
    s.components["hermes"] += f"TimeoutStartSec={soon}ms\n"
    s.apply()
    s.do("hermes", "deaf")
    reason = s.receipt("START", "hermes")["reason"]
    assert re.search(r"accepted none of 1 connection; if", reason), reason
    until(lambda: s.component("hermes")["restarts"] >= 8, "eight more", DEADLINE + 20 * soon / 1000)
    assert 1 <= s.broker.listener("hermes")["sockets"][0]["queue"]["length"] <= 4
    s.do("hermes", "asks=0")
    s.wait_state("hermes", "ready")
    assert s.ask("hermes")["component"] == "hermes"


BEFORE_EXEC = {
    "program": ("ExecStart=/nonexistent/hermes\n", r"/nonexistent/hermes.*: No such file or directory"),
    "folder": ("WorkingDirectory=/nonexistent\n", r"/nonexistent.*: No such file or directory"),
    "environment": ("EnvironmentFile=/nonexistent/env\n", r"/nonexistent/env.*: No such file or directory"),
    "start-pre": ("ExecStartPre=/bin/sh -c 'echo no room; exit 4'\n", r"ExecStartPre=/bin/sh: exited with status 4"),
    "start-pre missing": ("ExecStartPre=/nonexistent/pre\n", r"/nonexistent/pre.*: No such file or directory"),
    "start-pre slow": ("ExecStartPre=/bin/sleep 100\nTimeoutStartSec=200ms\n", r"ExecStartPre= took longer"),
    "start-post": ("ExecStartPost=/bin/false\n", r"ExecStartPost=/bin/false: exited with status 1"),
    "start-post slow": ("ExecStartPost=/bin/sleep 100\n" + SOON, r"ExecStartPost= took longer"),
}


@pytest.mark.parametrize("directives, reason", BEFORE_EXEC.values(), ids=BEFORE_EXEC)
def test_a_changed_configuration_that_cannot_be_started_leaves_the_old_generation(scene, directives, reason):
    s = scene({"hermes": NOTIFY})
    s.components["hermes"] = NOTIFY + directives.replace(SOON, s.soon("hermes"))
    s.apply()
    receipt = s.receipt("RESTART", "hermes")
    assert receipt["verdict"] == "kept" and re.search(reason, receipt["reason"]), receipt
    assert s.generation("hermes") == 1
    s.components["hermes"] = NOTIFY
    s.apply()
    assert s.receipt("RESTART", "hermes")["verdict"] == "serves"


def test_stop_first_ends_the_old_generation_before_and_connections_wait(scene):
    s = scene({"hermes": NOTIFY + "Handover=stop-first\n"})
    old = s.pids("hermes")[1]
    gate = s.file("gate")
    s.do("hermes", f"starts-while={gate}")
    job = s.job("RESTART", "hermes").step("starting", generation=2)
    assert not alive(old) and s.instances("hermes") == {(2, 0): "starting"}
    broker = s.broker.broker_pid
    with waiting_connection(s.addresses["hermes"]) as waits:
        begin, before = time.monotonic(), wake_ups(broker)
        until(lambda: time.monotonic() > begin + 0.5 and wake_ups(broker) > before + 4, "a wait that is seen")
        gate.unlink()
        assert s.read(waits)["generation"] == "2"
    receipt = job.wait()["hermes"]
    assert (receipt["verdict"], receipt["generation_before"], receipt["drained"]) == ("serves", 1, True)
    assert receipt["longest_wait_ms"] >= 50


def test_a_long_start_costs_few_wake_ups(scene):
    """Its queue is looked at while it starts: 33 times in two seconds, and not every 20 ms."""
    s = scene({"hermes": NOTIFY})
    gate = s.file("gate")
    s.do("hermes", f"starts-while={gate}")
    job = s.job("RESTART", "hermes").step("starting", generation=2)
    broker = s.broker.broker_pid
    before, begin = wake_ups(broker), time.monotonic()
    time.sleep(2)
    assert wake_ups(broker) - before < 30 * (time.monotonic() - begin)
    gate.unlink()
    assert job.wait()["hermes"]["verdict"] == "serves"


def test_stop_first_whose_next_generation_fails_tries_again_and_holds_the_listener(scene):
    s = scene({"hermes": NOTIFY + "Handover=stop-first\nRestartSec=50ms\nRestartSteps=0\n"})
    s.do("hermes", "exit=3")
    receipt = s.receipt("RESTART", "hermes")
    assert receipt["verdict"] == "failed" and "exited with status 3" in receipt["reason"]
    with waiting_connection(s.addresses["hermes"]) as waits:
        s.do("hermes", "")
        assert int(s.read(waits)["generation"]) >= 3
    assert s.wait_state("hermes", "ready")["restarts"] >= 1


def test_several_instances_are_replaced_one_by_one(scene):
    s = scene({"hermes": NOTIFY + "Instances=3\n"})
    until(lambda: list(s.instances("hermes").values()) == ["ready"] * 3, "three")
    with Load(s.addresses["hermes"], request=REQUEST) as load:
        load.wait_served(20)
        job = s.job("RESTART", "hermes")
        receipt = job.wait()["hermes"]
        load.wait_served(20)
    assert (receipt["verdict"], receipt["instances"], receipt["generation"]) == ("serves", 3, 2)
    assert s.instances("hermes") == {(2, 0): "ready", (2, 1): "ready", (2, 2): "ready"}
    begins = [step for _, step, generation in job.steps() if generation == 2 and step in ("starting", "ready")]
    assert begins == ["starting", "ready"] * 3
    assert load.made == load.served, str(load)


def test_of_several_instances_those_not_yet_replaced_stay_when_one_fails(scene):
    s = scene({"hermes": NOTIFY + "Instances=3\nExecStartPre=/bin/sh -c 'test $FDPASS_INSTANCE != $BAD'\n"})
    s.do("hermes", "", "BAD=none\n")
    s.wait_state("hermes", "ready", "failed", "back-off")
    # Instances are numbered as in FDPASS_INSTANCE, which the second one is to fail by.
    numbers = sorted({s.ask("hermes")["instance"] for _ in range(50)})
    s.do("hermes", "", "BAD=1\n")
    receipt = s.receipt("RESTART", "hermes")
    assert receipt["verdict"] == "kept" and "ExecStartPre=" in receipt["reason"], (receipt, numbers)
    until(lambda: "draining" not in s.instances("hermes").values(), "the drain")
    assert len([one for one in s.instances("hermes").values() if one == "ready"]) == 3
    s.do("hermes", "", "BAD=none\n")
    receipt = s.receipt("RESTART", "hermes")
    assert receipt["verdict"] == "serves"
    assert set(s.instances("hermes")) == {(receipt["generation"], k) for k in range(3)}


def test_fewer_and_more_instances_come_with_the_next_restart(scene):
    s = scene({"hermes": NOTIFY + "Instances=2\n"})
    until(lambda: list(s.instances("hermes").values()) == ["ready"] * 2, "two")
    s.components["hermes"] = NOTIFY + "Instances=3\n"
    s.apply()
    s.do("hermes", "exit=3")
    receipt = s.receipt("RESTART", "hermes")
    assert receipt["verdict"] == "kept", receipt  # the two go on
    s.do("hermes", "")
    assert s.receipt("RESTART", "hermes")["instances"] == 3
    assert set(s.instances("hermes").values()) == {"ready"} and len(s.instances("hermes")) == 3
    s.components["hermes"] = NOTIFY + "Instances=1\n"
    s.apply()
    assert s.receipt("RESTART", "hermes")["instances"] == 1
    until(lambda: len(s.instances("hermes")) == 1, "the end of the others")


# ---- pause, reload ---------------------------------------------------------------------------------------------


def test_paused_it_is_drained_and_what_comes_waits_until_it_is_resumed(scene):
    s = scene({"hermes": NOTIFY + TIRELESS})
    assert s.receipt("PAUSE", "hermes")["verdict"] == "done"
    assert s.receipt("PAUSE", "hermes")["verdict"] == "nothing"
    assert s.state("hermes") == "paused" and s.component("hermes")["instances"] == []
    with Load(s.addresses["hermes"], threads=2, request=REQUEST) as load:
        until(lambda: s.broker.listener("hermes")["sockets"][0]["queue"]["length"] == 2, "the queue")
        assert load.served == 0
        receipt = s.receipt("RESUME", "hermes")
        assert (receipt["verdict"], receipt["generation"]) == ("serves", 2)
        load.wait_served(2)
        assert s.receipt("RESUME", "hermes")["verdict"] == "nothing"
    assert load.made == load.served, str(load)


def test_reload_by_command_by_signal_and_by_its_word(scene):
    s = scene({"echo": NOTIFY + "ExecReload=/bin/sh -c 'echo again $MAINPID'\n",
               "fails": NOTIFY + "ExecReload=/bin/sh -c 'echo broken; exit 5'\n",
               "hup": NOTIFY, "word": "Type=notify-reload\n"})
    for name in s.components:
        s.do(name, f"reload-while={s.folder / 'busy'}")
        s.receipt("RESTART", name)
    before = {name: s.pids(name) for name in s.components}
    assert s.receipt("RELOAD", "echo")["verdict"] == "done"
    s.said("echo", f"^again {before['echo'][2]}$")
    receipt = s.receipt("RELOAD", "fails")
    assert receipt["verdict"] == "failed" and "ExecReload=/bin/sh: exited with status 5" in receipt["reason"]
    s.said("fails", "^broken$")
    assert s.receipt("RELOAD", "hup")["verdict"] == "done"
    s.said("hup", "^reloads$")
    busy = s.file("busy")
    job = s.job("RELOAD", "word")
    s.said("word", "^reloads$")
    assert not job.is_over()
    busy.unlink()
    assert job.wait()["word"]["verdict"] == "done"
    assert {name: s.pids(name) for name in s.components} == before
    assert s.receipt("STOP", "hup")["verdict"] == "done"
    assert s.receipt("RELOAD", "hup")["verdict"] == "failed"


# ---- on demand, back-off ---------------------------------------------------------------------------------------


def test_on_demand_the_first_connection_starts_it_and_it_may_end_again(scene):
    s = scene({"hermes": NOTIFY + "Start=on-demand\nRestart=no\n"})
    leave = s.folder / "leave"
    s.do("hermes", f"leave={leave}")
    assert s.state("hermes") == "waiting" and s.component("hermes")["instances"] == []
    for generation in (1, 2):
        assert s.generation("hermes") == generation
        leave.touch()
        s.wait_state("hermes", "waiting")
        leave.unlink()
    assert s.receipt("STOP", "hermes")["verdict"] == "done"  # no process ended, but no connection starts one now
    assert s.state("hermes") == "stopped"
    assert s.receipt("STOP", "hermes")["verdict"] == "nothing"
    assert s.receipt("PAUSE", "hermes")["verdict"] == "done"


def test_trigger_limits_pause_and_never_close(scene, tmp_path):
    limits = "TriggerLimitIntervalSec=6s\nTriggerLimitBurst=3\n"  # for three starts, and to be waited for
    address = free_address()
    # Ends with success before it accepts: the connection goes on waiting and triggers again. A shell is quick at that.
    serves = tmp_path / "serves"
    s = scene({"hermes": NOTIFY + "Sockets=hermes\nStart=on-demand\nRestart=no\n"
                                  f"ExecStart=/bin/sh -c '[ -e {serves} ] || exit 0; "
                                  f"exec {os.sys.executable} -IS {SERVER}'\n"},
              more=f"[Socket hermes]\nListenStream={address[0]}:{address[1]}\n{limits}")
    with waiting_connection(address) as waits:
        s.wait_log(r"hermes was started too often by connections")
        assert s.component("hermes")["last_end"]["text"] == "exited with status 0 before it was ready"
        assert s.broker.log().count("a connection waits") == 3
        serves.touch()
        assert s.read(waits)["generation"] == "4"  # after the pause, by itself
    s.wait_state("hermes", "ready")


def test_a_program_that_fails_again_and_again_is_left_alone_with_the_reason(scene):
    s = scene({"hermes": NOTIFY + "Restart=on-failure\nRestartSec=20ms\nRestartSteps=0\n"
                                  "StartLimitIntervalSec=60\nStartLimitBurst=3\n"})
    inode = s.broker.inode("hermes")
    leave = s.folder / "leave"
    s.do("hermes", "exit=7")
    os.kill(s.pids("hermes")[1], signal.SIGKILL)
    with waiting_connection(s.addresses["hermes"]) as waits:
        failed = s.wait_state("hermes", "failed")
        assert "started too often" in failed["reason"] and "exited with status 7" in failed["reason"]
        assert s.component("hermes")["last_end"]["text"] == "exited with status 7 before it was ready"
        assert failed["restarts"] == 3
        s.do("hermes", f"leave={leave}")
        assert s.receipt("START", "hermes")["verdict"] == "serves"
        assert s.read(waits)["component"] == "hermes"
    assert s.broker.inode("hermes") == inode
    assert s.component("hermes")["reason"] is None


def test_the_last_end_says_why(scene):
    s = scene({"hermes": NOTIFY + "Restart=no\n",
               "iris": NOTIFY + "Restart=no\nStart=manual\nExecStartPre=/bin/sh -c 'exit 5'\n",
               "clio": NOTIFY + "Restart=no\nStart=manual\nTimeoutStartSec=400ms\n"})
    s.do("hermes", "errno=28")
    said = "exited with status 1 before it was ready; it said: No space left on device"
    assert s.receipt("RESTART", "hermes")["reason"] == said
    until(lambda: s.component("hermes")["last_end"], "its end")
    assert s.component("hermes")["last_end"]["text"] == said
    assert s.receipt("START", "iris")["verdict"] == "failed"
    assert s.wait_state("iris", "failed")["last_end"]["text"] == "ExecStartPre=/bin/sh: exited with status 5"
    s.do("clio", "never")
    reason = s.receipt("START", "clio")["reason"]
    assert reason.startswith("not ready within TimeoutStartSec= (0.4 s)")
    last = s.wait_state("clio", "failed")["last_end"]
    assert (last["text"], last["reason"]) == ("killed by SIGTERM", reason)
    row = next(line for line in s.broker.fdpass("status").stdout.splitlines() if line.startswith("clio"))
    assert f"{reason}; killed by SIGTERM (" in row and row.count(reason) == 1, row


def test_an_end_is_answered_as_restart_says(scene):
    s = scene({"never": NOTIFY + "Restart=no\n", "always": NOTIFY + TIRELESS,
               "failure": NOTIFY + "Restart=on-failure\nRestartSec=10ms\n",
               "prevented": NOTIFY + TIRELESS + "RestartPreventExitStatus=9\n",
               "forced": NOTIFY + "Restart=no\nRestartSec=10ms\nRestartForceExitStatus=9\n"})
    for name in ("never", "prevented"):
        s.do(name, f"status=9 leave={s.folder / name}")
        s.receipt("RESTART", name)
        s.file(name)
        assert s.wait_state(name, "failed")["reason"] == "exited with status 9"
    for name, number in (("always", signal.SIGTERM), ("failure", signal.SIGSEGV)):
        os.kill(s.pids(name)[1], number)
        until(lambda: s.instances(name) == {(2, 0): "ready"}, "the second generation")
    s.do("forced", f"status=9 leave={s.folder / 'forced'}")
    s.receipt("RESTART", "forced")
    s.do("forced", "")
    s.file("forced")
    until(lambda: s.instances("forced") == {(3, 0): "ready"}, "the third generation")
    os.kill(s.pids("failure")[2], signal.SIGTERM)  # ends well
    assert s.wait_state("failure", "stopped")["last_end"]["text"] == "exited with status 0"


# ---- in the middle of it ---------------------------------------------------------------------------------------


def starting(s, name):
    return [one for one in s.instances(name).values() if one == "starting"]


def test_two_restarts_at_once_are_two_generations_and_never_both_starting(scene):
    s = scene({"hermes": NOTIFY})
    gate = s.file("gate")
    s.do("hermes", f"starts-while={gate}")
    first = s.job("RESTART", "hermes").step("starting", generation=2)
    others = [s.job("RESTART", "hermes") for _ in range(3)]
    assert s.instances("hermes") == {(1, 0): "ready", (2, 0): "starting"}
    gate.unlink()
    assert first.wait()["hermes"]["generation"] == 2
    receipts = [job.wait()["hermes"] for job in others]
    assert [(one["verdict"], one["generation"]) for one in receipts] == [("serves", 3)] * 3
    until(lambda: s.instances("hermes") == {(3, 0): "ready"}, "the last generation")


@pytest.mark.parametrize("verb, state", [("STOP", "stopped"), ("PAUSE", "paused")])
def test_a_stop_during_a_start_wins_and_the_start_says_so(scene, verb, state):
    s = scene({"hermes": NOTIFY + "Start=manual\n"})
    gate = s.file("gate")
    s.do("hermes", f"starts-while={gate}")
    start = s.job("START", "hermes").step("starting")
    pid = s.pids("hermes")[1]
    stop = s.receipt(verb, "hermes")
    assert stop["verdict"] == "done"
    receipt = start.wait()["hermes"]
    assert (receipt["verdict"], receipt["reason"]) == ("canceled", f"it is being {state}")
    assert not alive(pid) and s.state("hermes") == state


def test_a_stop_during_a_restart_ends_both_generations(scene):
    s = scene({"hermes": NOTIFY})
    s.do("hermes", f"starts-while={s.file('gate')}")
    restart = s.job("RESTART", "hermes").step("starting", generation=2)
    assert s.receipt("STOP", "hermes")["verdict"] == "done"
    assert restart.wait()["hermes"]["verdict"] == "canceled"
    assert s.component("hermes")["instances"] == [] and s.state("hermes") == "stopped"
    s.do("hermes", "")
    assert s.receipt("START", "hermes")["generation"] == 3


def test_a_start_during_a_stop_comes_after_it(scene):
    s = scene({"hermes": NOTIFY + "Start=manual\n"})
    linger = s.file("linger")
    s.do("hermes", f"linger={linger}")
    s.receipt("START", "hermes")
    stop = s.job("STOP", "hermes").step("draining")
    start = s.job("START", "hermes")
    s.said("hermes", "asked to stop")
    assert s.instances("hermes")[1, 0] == "draining"
    linger.unlink()
    assert stop.wait()["hermes"]["verdict"] == "done"
    assert start.wait()["hermes"]["generation"] == 2
    assert s.generation("hermes") == 2


def test_a_restart_while_the_last_one_drains_does_not_wait_for_it(scene):
    s = scene({"hermes": NOTIFY})
    linger = s.file("linger")
    s.do("hermes", f"linger={linger}")
    s.receipt("RESTART", "hermes")
    slow = s.job("RESTART", "hermes").step("ready", generation=3)
    assert s.instances("hermes")[2, 0] == "draining"
    s.do("hermes", "")
    quick = s.job("RESTART", "hermes").step("ready", generation=4)
    until(lambda: s.generation("hermes") == 4, "the fourth")
    linger.unlink()
    assert [job.wait()["hermes"]["generation"] for job in (slow, quick)] == [3, 4]
    assert ("hermes", "ended", 2) in slow.steps() and ("hermes", "ended", 3) in quick.steps()
    until(lambda: s.instances("hermes") == {(4, 0): "ready"}, "the end of the others")


def test_old_generations_that_drain_are_bounded_in_number(scene):
    s = scene({"hermes": NOTIFY + "TimeoutStopSec=60\n"})
    linger = s.file("linger")
    s.do("hermes", f"linger={linger}")
    s.receipt("RESTART", "hermes")
    jobs = []
    for generation in range(3, 10):
        jobs.append(s.job("RESTART", "hermes").step("ready", generation=generation))
        assert len([one for one in s.instances("hermes").values() if one == "draining"]) <= 4
    linger.unlink()
    assert [job.wait()["hermes"]["verdict"] for job in jobs] == ["serves"] * 7


def test_an_apply_in_the_middle_of_restarts_adds_removes_and_changes(scene):
    s = scene({"hermes": NOTIFY, "engram": NOTIFY, "iris": NOTIFY})
    gate = s.file("gate")
    s.do("hermes", f"starts-while={gate}")
    s.do("engram", f"starts-while={gate}")
    changed = s.job("RESTART", "hermes").step("starting")
    removed = s.job("RESTART", "engram").step("starting")
    pids = s.pids("engram")
    del s.components["engram"]
    s.components["hermes"] = NOTIFY + "Environment=GREETING=changed\n"
    s.components["added"] = NOTIFY
    s.do("added", "")
    with Load(s.addresses["iris"], threads=1, request=REQUEST) as load:
        load.wait_served(1)
        s.apply()
        assert s.generation("added") == 1
        receipt = removed.wait()["engram"]
        assert (receipt["verdict"], receipt["reason"]) == ("canceled", "it is not configured any more")
        until(lambda: s.component("engram") is None, "the end of engram")
        assert not any(map(alive, pids.values()))
        gate.unlink()
        assert changed.wait()["hermes"]["generation"] == 2
        load.wait_served(1)
    assert load.made == load.served, str(load)
    assert s.ask("hermes")["greeting"] == ""  # what was starting had been started before
    s.receipt("RESTART", "hermes")
    assert s.ask("hermes")["greeting"] == "changed"


def test_removed_and_added_again_while_it_drains_it_serves_again(scene):
    s = scene({"hermes": NOTIFY})
    linger = s.file("linger")
    s.do("hermes", f"linger={linger}")
    s.wait_state("hermes", "ready")
    s.receipt("RESTART", "hermes")
    directives = s.components.pop("hermes")
    s.apply()
    s.said("hermes", "asked to stop")
    assert s.job("START", "hermes").refusal()["ERROR"] == "ENOENT"
    s.components["hermes"] = directives
    s.apply()
    linger.unlink()
    assert s.generation("hermes") == 3
    assert s.wait_state("hermes", "ready")["goal"] == "running"


# ---- what it says of itself ------------------------------------------------------------------------------------


def test_a_slow_start_that_asks_for_more_time_gets_it(scene):
    s = scene({"hermes": NOTIFY})
    soon = s.soon_ms("hermes", least=1000)
    s.components["hermes"] += f"TimeoutStartSec={soon}ms\n"
    s.apply()
    s.do("hermes", f"extend={1.6 * soon / 1000}")
    receipt = s.receipt("RESTART", "hermes")
    assert receipt["verdict"] == "serves" and receipt["ready_ms"] > 1.5 * soon


def test_a_slow_stop_that_asks_for_more_time_gets_it(scene):
    s = scene({"hermes": NOTIFY})
    soon = s.soon_ms("hermes")
    s.components["hermes"] += f"TimeoutStopSec={soon}ms\n"
    s.apply()
    s.do("hermes", f"extend-stop=60 drain={1.5 * soon / 1000}")
    s.receipt("RESTART", "hermes")
    receipt = s.receipt("STOP", "hermes")
    assert (receipt["killed"], receipt["drain_ms"] >= 1.5 * soon) == (False, True), receipt


def test_who_forked_away_and_says_so_is_supervised(scene):
    s = scene({"hermes": NOTIFY + "RestartSec=10ms\n"})
    gate = s.file("gate")
    s.do("hermes", f"fork-away starts-while={gate}")
    job = s.job("RESTART", "hermes").step("starting", generation=2)
    first, broker = s.pids("hermes")[2], s.broker.broker_pid
    os.kill(broker, signal.SIGSTOP)  # its end and what it said before are seen in the same turn
    gate.unlink()
    until(lambda: not alive(first), "the end of the first process")
    os.kill(broker, signal.SIGCONT)
    receipt = job.wait()["hermes"]
    assert receipt["verdict"] == "serves", receipt
    serving = int(s.ask("hermes")["pid"])
    assert s.pids("hermes")[2] == serving
    os.kill(serving, signal.SIGKILL)
    assert s.generation("hermes") == 3
    assert s.component("hermes")["restarts"] == 1
    assert s.receipt("STOP", "hermes")["verdict"] == "done"


def watch(s):
    """From its next generation on; how many milliseconds it may be silent, which on a busy machine are more."""
    soon = s.soon_ms("hermes", least=1000)
    s.components["hermes"] += f"WatchdogSec={soon}ms\n"
    s.apply()
    return soon


@pytest.mark.alone
def test_who_feeds_no_watchdog_is_ended_and_started_again(scene):
    s = scene({"hermes": NOTIFY + "RestartSec=10ms\n"})
    soon = watch(s)
    unfed = s.folder / "unfed"
    s.do("hermes", f"feed unfed={unfed}")
    s.receipt("RESTART", "hermes")
    s.do("hermes", "feed")
    time_of_three = time.monotonic() + 3 * soon / 1000
    until(lambda: time.monotonic() > time_of_three or s.state("hermes") != "ready", "three times its time",
          DEADLINE + 3 * soon / 1000)
    assert s.generation("hermes") == 2
    unfed.touch()
    # Nobody is asked before that: SIGABRT would cut the answer.
    until(lambda: (2, 0) not in s.instances("hermes") and s.state("hermes") == "ready", "the next generation")
    assert s.generation("hermes") > 2
    s.wait_log(f"no WATCHDOG=1 for {soon} ms")
    assert "SIGABRT" in s.component("hermes")["last_end"]["text"]


def test_a_broker_that_was_held_up_takes_nobody_for_silent(scene):
    """As on a machine that had no time for it: the deadline has passed, and the word in time is there, unread."""
    s = scene({"hermes": NOTIFY})
    soon = watch(s)
    s.do("hermes", "feed")
    s.receipt("RESTART", "hermes")
    broker = s.broker.broker_pid
    for _ in range(3):
        os.kill(broker, signal.SIGSTOP)
        time.sleep(1.3 * soon / 1000)
        os.kill(broker, signal.SIGCONT)
        assert s.generation("hermes") == 2, s.broker.log()
    assert s.instances("hermes") == {(2, 0): "ready"}, s.broker.log()


def test_the_sick_is_replaced_by_hand_over_when_restart_says_so(scene):
    health = "HealthCheck=http:/\nHealthCheckIntervalSec=50ms\nHealthCheckFailures=2\n"
    s = scene({"hermes": NOTIFY + health + "Restart=always\n", "iris": NOTIFY + health + "Restart=on-abort\n"})
    for name in s.components:
        s.do(name, f"sick={s.folder / name}")
        s.receipt("RESTART", name)
        s.do(name, "")
    with Load(s.addresses["hermes"], threads=2, request=REQUEST) as load:
        s.file("hermes")
        until(lambda: s.instances("hermes") == {(3, 0): "ready"}, "the third generation")
        load.wait_served(2)
    assert load.made == load.served, str(load)
    assert s.component("hermes")["restarts"] == 1
    s.wait_log("hermes: generation 2 is not healthy: .*500")
    s.file("iris")
    s.wait_log("iris: generation 2 is not healthy")
    (s.folder / "iris").unlink()
    s.wait_log("iris: generation 2 is healthy again")
    assert s.instances("iris") == {(2, 0): "ready"}


def test_an_ignored_queue_is_a_stall(scene):
    s = scene({"reported": NOTIFY + "StallSec=200ms\n", "restarted": NOTIFY + "Restart=always\n"})
    soon = s.soon_ms("restarted", least=1000)  # for the third generation to accept what waits
    s.components["restarted"] += f"StallSec={soon}ms\nStallAction=restart\n"
    s.apply()
    for name in s.components:
        s.do(name, f"deaf={s.folder / name}")
        s.receipt("RESTART", name)
        s.do(name, "")
        s.file(name)
        s.said(name, "^deaf$")
    with waiting_connection(s.addresses["reported"]) as first, waiting_connection(s.addresses["restarted"]) as second:
        assert s.read(second)["generation"] == "3"
        s.wait_log("reported is stalled: 1 connections? wait")
        assert s.instances("reported") == {(2, 0): "ready"}
        assert [s.component(name)["stalled"] for name in ("reported", "restarted")] == [True, False]
        components = s.broker.fdpass("status").stdout.split("\n\n")[0].splitlines()
        notes = {row.split()[0]: row.split()[-1] for row in components}
        assert notes["reported"] == "stalled" and notes["restarted"] != "stalled"
        (s.folder / "reported").unlink()
        s.wait_log("reported accepts connections again")
        assert s.component("reported")["stalled"] is False
        assert s.read(first)["generation"] == "2"


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_a_queue_that_moves_is_no_stall_however_long_it_is_and_one_that_does_not_move_is(scene, tmp_path, family):
    directives, more, path = on_a_unix_path(tmp_path, NOTIFY + "StallSec=2s\n")
    s = scene({"path": directives, "hermes": NOTIFY + "StallSec=2s\n"}, more=more)
    name, address = ("hermes", s.addresses["hermes"]) if family == "tcp" else ("path", path)
    s.do(name, f"slow=0.1 deaf={s.folder / 'deaf'}")
    s.receipt("RESTART", name)
    with Load(address, threads=20, request=REQUEST, timeout=120) as load:
        load.wait_served(30)  # one in a tenth of a second, and as soon as one is served another one waits
        assert f"{name} is stalled" not in s.broker.log(), s.broker.log()
        s.file("deaf")
        s.wait_log(f"{name} is stalled: \\d+ connections? wait and none was accepted for 2000 ms")
        (s.folder / "deaf").unlink()
        s.wait_log(f"{name} accepts connections again")
        s.do(name, "")
        s.receipt("RESTART", name)
    assert load.made == load.served, str(load)


# ---- anew for each generation ----------------------------------------------------------------------------------


def test_environment_working_directory_and_program_are_resolved_anew(scene):
    s = scene({"hermes": NOTIFY})
    current = s.folder / "current"
    for release in ("one", "two"):
        (s.folder / release).mkdir()
        (s.folder / release / "run").symlink_to(
            os.path.join(os.path.dirname(os.path.dirname(__file__)), "testing", "server.py"))
    current.symlink_to(s.folder / "one")
    s.components["hermes"] = (f"WorkingDirectory={current}\nExecStart={os.sys.executable} -IS run\n" + NOTIFY)
    s.do("hermes", "", "GREETING=hello\n")
    s.apply()
    s.receipt("RESTART", "hermes")
    answer = s.ask("hermes")
    assert (answer["greeting"], answer["cwd"]) == ("hello", str(s.folder / "one"))
    current.unlink()
    current.symlink_to(s.folder / "two")
    s.do("hermes", "", "GREETING=good day\n")
    s.receipt("RESTART", "hermes")
    answer = s.ask("hermes")
    assert (answer["greeting"], answer["cwd"]) == ("good day", str(s.folder / "two"))
    (s.folder / "two" / "run").unlink()
    receipt = s.receipt("RESTART", "hermes")
    assert receipt["verdict"] == "kept" and "exited with status 2" in receipt["reason"]
    assert s.generation("hermes") == 3


# ---- commands around it ----------------------------------------------------------------------------------------


def test_commands_run_in_their_places_with_the_main_pid(scene):
    def note(word):
        return f"/bin/sh -c 'echo {word} $MAINPID $FDPASS_GENERATION'"
    s = scene({"hermes": NOTIFY + f"ExecStartPre={note('pre')}\nExecStartPre=-/bin/false\n"
                                  f"ExecStartPost={note('post')}\nExecStop={note('stop')}\n"
                                  f"ExecStopPost={note('after')}\n"})
    pid = s.pids("hermes")[1]
    assert s.receipt("STOP", "hermes")["verdict"] == "done"
    assert s.lines("hermes") == ["pre 1", f"post {pid} 1", f"stop {pid} 1", "asked to stop", "bye",
                                 "after 1"]


def test_commands_of_the_end_that_fail_or_hang_do_not_hold_up_the_stop(scene):
    s = scene({"fails": NOTIFY + "ExecStop=/bin/false\nExecStopPost=/bin/false\n",
               "hangs": NOTIFY + "TimeoutStopSec=300ms\nExecStop=/bin/sleep 100\nExecStopPost=/bin/sleep 100\n",
               "missing": NOTIFY + "ExecStop=/nonexistent/a\nExecStopPost=/nonexistent/b\n"})
    receipts = s.job("STOP", ALL=1).wait()
    assert {one["verdict"] for one in receipts.values()} == {"done"}
    assert receipts["hangs"]["killed"] and not receipts["fails"]["killed"]
    for name in s.components:
        assert s.state(name) == "stopped" and s.component(name)["instances"] == []
    assert "bye" in s.lines("fails") and "bye" in s.lines("missing")


def test_after_a_failed_start_the_stop_post_commands_clean_up(scene):
    s = scene({"hermes": NOTIFY + "Start=manual\nRestart=no\nExecStopPost=/bin/sh -c 'echo cleaned'\n"})
    s.do("hermes", "exit=3")
    assert s.receipt("START", "hermes")["verdict"] == "failed"
    s.said("hermes", "^cleaned$")
    s.wait_state("hermes", "failed")
