"""Components and clients that mean harm, and operators who change their minds: nobody else is to notice."""
import json
import os
import re
import time

import pytest

from testing.broker import DEADLINE
from testing.process import until
from testing.program import runs
from testing.scene import Scene

NOTIFY = "Type=notify\n"
MANUAL = NOTIFY + "Start=manual\n"


@pytest.fixture
def scene(broker, tmp_path):
    return lambda components, **kwargs: Scene(broker, tmp_path, components, **kwargs)


def slowest(s, seconds):
    """The longest that the broker took to answer, asked again and again."""
    worst, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.monotonic()
        with s.broker.client(timeout=DEADLINE) as client:
            assert client.request("HELLO").ok
        worst = max(worst, time.monotonic() - begin)
    return worst


# ---- components ------------------------------------------------------------------------------------------------


@pytest.mark.alone
def test_who_floods_its_store_with_descriptors_starves_only_itself(scene, tmp_path):
    text = """
resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 2048))
ours = [[os.memfd_create(f"{k}") for k in range(250)] for _ in range(4)]
for fds in ours[:3]:
    notify("FDSTORE=1\\nFDNAME=hoard", fds)
notify("READY=1\\nSTATUS=hoards")
threading.Thread(target=serve, daemon=True).start()
while True:
    for fds in ours:
        notify("FDSTORE=1\\nFDNAME=hoard", fds)
"""
    s = scene({"hermes": MANUAL + "NotifyAccess=all\nFileDescriptorStoreMax=750\n" + runs(tmp_path, "flood", text),
               "iris": NOTIFY})
    s.wait_state("iris", "ready")
    assert s.receipt("START", "hermes")["verdict"] == "serves"
    s.wait_log("hermes stored a descriptor as hoard that is not kept: FileDescriptorStoreMax= is reached")
    # Once each packet cost as many questions as its descriptors times the stored ones. Others may have the processors.
    until(lambda: slowest(s, 2) < 0.5, "two seconds in which nobody else waits")
    assert s.receipt("RESTART", "iris")["verdict"] == "serves"
    assert s.receipt("STOP", "hermes")["verdict"] == "done"
    with s.broker.client() as client:
        stored = client.request("STORED").document()["stored"]
    assert sum(one["descriptors"] for one in stored) == 750


def test_main_pids_of_strangers_are_refused_without_a_flood_of_lines(scene, tmp_path):
    text = """
for pid in [1, os.getppid(), 2147483647, *range(1, 200)]:
    if pid != os.getpid():
        notify(f"MAINPID={pid}")
notify("READY=1")
serve()
"""
    s = scene({"hermes": MANUAL + runs(tmp_path, "impostor", text)})
    assert s.receipt("START", "hermes")["verdict"] == "serves"
    lines = re.findall(r"hermes: MAINPID=\d+ is refused: .*", s.broker.log())
    assert 1 <= len(lines) <= 5 and "none of its processes" in lines[0], lines
    assert s.receipt("STOP", "hermes")["verdict"] == "done"


def test_what_a_component_writes_does_not_steer_a_terminal(scene, tmp_path):
    text = """
os.write(1, b"one\\xc2\\x9b31mtwo\\x9b31mthree\\xe2\\x80\\xaefour\\x1b[2Jfive\\n")
notify("READY=1")
serve()
"""
    s = scene({"hermes": MANUAL + runs(tmp_path, "binary", text)})
    s.receipt("START", "hermes")
    s.said("hermes", "five")
    with open(s.broker.log_path, "rb") as file:
        line = next(line for line in file if b"five" in line)
    assert line.rstrip() == b"fdpassd: info: hermes: one  31mtwo?31mthree   four [2Jfive"
    shown = s.broker.fdpass("logs", "hermes").stdout
    assert "\\x9b" in shown and "\x9b" not in shown and "\x1b" not in shown
    piped = s.broker.fdpass("logs", "--json", "hermes").stdout
    assert "\x9b" not in piped and "\x1b" not in piped
    assert "one\x9b31mtwo\ufffd31mthree\u202efour\x1b[2Jfive" in [json.loads(line)["text"] for line in piped.splitlines()]


def test_a_generation_that_is_ready_for_a_moment_is_told_with_its_reason(scene, tmp_path):
    text = """
notify("WATCHDOG_USEC=1\\nREADY=1")
serve()
"""
    s = scene({"hermes": MANUAL + "Restart=no\nSockets=\n" + runs(tmp_path, "moment", text.replace("serve()",
                                                                                                 "time.sleep(1000)"))})
    receipt = s.receipt("START", "hermes")
    assert receipt["verdict"] == "serves" or "WATCHDOG=1" in receipt["reason"], receipt
    s.wait_state("hermes", "failed")


# ---- clients ---------------------------------------------------------------------------------------------------


def test_the_id_of_a_job_for_others_is_not_answered_with_their_verdict(scene):
    s = scene({"hermes": MANUAL, "iris": NOTIFY})
    s.wait_state("iris", "ready")
    assert s.job("STOP", "hermes", JOB="deploy").wait()["hermes"]["verdict"] == "nothing"
    for names in (["iris"], ["hermes", "iris"]):
        refusal = s.job("STOP", *names, JOB="deploy").refusal()
        assert refusal["ERROR"] == "EINVAL" and "the job deploy is there" in refusal["MESSAGE"]
    assert s.job("STOP", "hermes", "hermes", JOB="deploy").wait()["hermes"]["verdict"] == "nothing"
    assert s.state("iris") == "ready"


def test_jobs_under_way_are_bounded(scene):
    s = scene({"hermes": MANUAL})
    hold = s.file("hold")
    s.do("hermes", f"linger={hold}")
    s.receipt("START", "hermes")
    with s.broker.client(timeout=DEADLINE) as client:
        for _ in range(256):
            assert client.request("STOP", NAMES="hermes", NO_WAIT=1).ok
        refusal = client.request("STOP", NAMES="hermes", NO_WAIT=1)
        assert refusal["ERROR"] == "EBUSY" and "256 jobs are under way" in refusal["MESSAGE"]
        hold.unlink()
        until(lambda: client.request("STOP", NAMES="hermes", NO_WAIT=1).ok, "the end of one")


# ---- operators -------------------------------------------------------------------------------------------------


def test_what_was_asked_for_last_counts_when_it_stops_already(scene):
    s = scene({"hermes": MANUAL})
    hold = s.file("hold")
    s.do("hermes", f"linger={hold}")
    s.receipt("START", "hermes")
    first = s.job("STOP", "hermes").step("draining")
    start = s.job("START", "hermes", NO_WAIT=1, JOB="start")
    assert start.client.receive().ok
    second = s.job("STOP", "hermes")
    assert s.job("START", "hermes", JOB="start").wait()["hermes"]["verdict"] == "canceled"
    hold.unlink()
    assert [job.wait()["hermes"]["verdict"] for job in (first, second)] == ["done", "done"]
    assert s.component("hermes")["goal"] == "stopped" and s.instances("hermes") == {}


def test_what_it_requires_was_stopped_before_it_was_ready_so_it_is_skipped(scene):
    s = scene({"engram": MANUAL, "hermes": MANUAL + "After=engram\nRequires=engram\n"})
    gate = s.file("gate")
    s.do("engram", f"starts-while={gate}")
    job = s.job("START", "hermes").step("starting", "engram")
    assert s.receipt("STOP", "engram")["verdict"] == "done"
    receipts = job.wait()
    assert {name: one["verdict"] for name, one in receipts.items()} == {"engram": "canceled", "hermes": "skipped"}
    assert receipts["hermes"]["reason"] == "it requires engram, which was not started"
    assert s.component("hermes")["instances"] == []


def test_twenty_who_restart_at_once_all_get_a_verdict_of_two_generations(scene):
    s = scene({"hermes": NOTIFY})
    gate = s.file("gate")
    s.do("hermes", f"starts-while={gate}")
    jobs = [s.job("RESTART", "hermes").step("starting")]
    jobs += [s.job("RESTART", "hermes") for _ in range(19)]
    assert s.instances("hermes") == {(1, 0): "ready", (2, 0): "starting"}  # asked after all of them
    gate.unlink()
    assert [job.wait()["hermes"]["verdict"] for job in jobs] == ["serves"] * 20
    assert s.generation("hermes") == 3


def test_clients_that_go_in_the_middle_of_jobs_leave_nothing(scene):
    s = scene({"hermes": NOTIFY})
    s.wait_state("hermes", "ready")
    assert s.receipt("RESTART", "hermes")["verdict"] == "serves"
    broker = s.broker.broker_pid
    before = len(os.listdir(f"/proc/{broker}/fd"))
    for _ in range(30):
        s.job("RESTART", "hermes").client.close()
    assert s.receipt("RESTART", "hermes")["verdict"] == "serves"
    until(lambda: len(os.listdir(f"/proc/{broker}/fd")) <= before, "its descriptors to be closed")
