"""Components that accept by io_uring: how they are known to accept, and what a restart of them under load costs."""
import os
import pathlib
import re
import socket
import subprocess

import pytest

from testing.broker import DEADLINE
from testing.load import Load
from testing.process import until
from testing.scene import REQUEST, Scene

SERVER = os.path.join(os.environ.get("BUILD", "build/plain"), "tests/faults/uring-server")
NOTIFY = "Type=notify\n"
SEEN = "waiting for connections"


@pytest.fixture
def scene(broker, tmp_path):
    def start(words, directives=NOTIFY):
        tried = subprocess.run([SERVER, "try", *words.split()], stderr=subprocess.PIPE, text=True, check=False)
        if tried.returncode == 77:
            pytest.skip(f"io_uring cannot be had here: {tried.stderr.strip()}")
        assert tried.returncode == 0, tried
        return Scene(broker, tmp_path, {"hermes": exec_start(words) + directives + "Start=manual\n"})

    return start


def exec_start(words):
    return f"ExecStart={os.path.abspath(SERVER)} {words}\n"


def is_told(pid):
    """Does the kernel tell what waits in its ring?"""
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        if "io_uring" in os.readlink(entry):
            return "op=13," in pathlib.Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text()
    return False


@pytest.mark.parametrize("words", ["", "multishot", "sqpoll", "sqpoll multishot", "direct", "direct multishot",
                                   "indexed multishot"])
def test_restarts_under_load_lose_no_connection(scene, words):
    """With "multishot" the old generation takes every connection until its end, whoever else waits for them."""
    s = scene(words)
    receipts = [s.receipt("START", "hermes")]
    assert receipts[0]["verdict"] == "serves", receipts
    if not is_told(s.pids("hermes")[1]):
        pytest.skip("the kernel does not tell what waits in an io_uring")
    with Load(s.addresses["hermes"], request=REQUEST) as load:
        for generation in range(2, 7):
            load.wait_served(20)
            receipts.append(s.receipt("RESTART", "hermes"))
            assert (receipts[-1]["verdict"], receipts[-1]["generation"]) == ("serves", generation), receipts[-1]
            assert receipts[-1]["drained"] and not receipts[-1]["killed"] and receipts[-1]["drops"] == 0
        load.wait_served(20)
    assert load.made == load.served, str(load)
    # While it handles a connection no request for one waits in its ring: under load a connection may tell first.
    # Beside a multishot one none comes to it, so that must be seen.
    by_look = receipts if "multishot" in words else receipts[:1]
    assert {receipt["ready_by"] for receipt in by_look} == {SEEN}
    assert all(re.fullmatch(rf"{SEEN}|accepted by pid \d+|having accepted a connection", receipt["ready_by"])
               for receipt in receipts), receipts
    assert s.instances("hermes") == {(6, 0): "ready"}


@pytest.mark.parametrize("words, directives", [("hidden", NOTIFY), ("beside", NOTIFY), ("beside", "Type=exec\n"),
                                               ("direct beside", NOTIFY)])
def test_what_is_not_seen_of_it_is_found_by_a_connection(scene, words, directives):
    """Whose ring has no descriptor, and who has a socket of its own that the request could be about."""
    s = scene(words, directives)
    receipt = s.receipt("START", "hermes")
    with Load(s.addresses["hermes"], threads=2, request=REQUEST) as load:
        load.wait_served(5)
        for generation in (1, 2):
            assert receipt["verdict"] == "serves", receipt
            assert receipt["ready_by"] in (f"accepted by pid {s.pids('hermes')[generation]}",
                                           "having accepted a connection"), receipt
            # A program that does not notify is looked at for 5 s before it is asked, unless this is seen of it.
            if directives != NOTIFY:
                assert receipt["ready_ms"] < 5000
            receipt = s.receipt("RESTART", "hermes")
            load.wait_served(5)
    assert load.made == load.served, str(load)


@pytest.mark.parametrize("words", ["deaf", "elsewhere", "elsewhere multishot"])
def test_one_that_accepts_nothing_or_on_a_socket_of_its_own_leaves_the_old_one(scene, words):
    s = scene("")
    assert s.receipt("START", "hermes")["verdict"] == "serves"
    s.components["hermes"] = exec_start(words) + NOTIFY + s.soon("hermes")
    s.apply()
    with Load(s.addresses["hermes"], threads=2, request=REQUEST) as load:
        load.wait_served(5)
        receipt = s.receipt("RESTART", "hermes")
        load.wait_served(5)
    assert (receipt["verdict"], receipt["generation_before"]) == ("kept", 1)
    assert re.search(r"it said READY=1 and accepted none of \d+ connections", receipt["reason"]), receipt
    assert load.made == load.served, str(load)
    until(lambda: s.instances("hermes") == {(1, 0): "ready"}, "the end of the second")


def test_beside_one_request_for_all_connections_none_comes_to_the_next_generation(scene):
    """So a connection tells nothing. Where the kernel does not, either, another way has to be chosen."""
    s = scene("multishot beside")
    assert s.receipt("START", "hermes")["verdict"] == "serves"
    plain = s.components["hermes"]
    s.components["hermes"] = plain + s.soon("hermes")
    s.apply()
    with Load(s.addresses["hermes"], threads=2, request=REQUEST) as load:
        receipt = s.receipt("RESTART", "hermes")
        assert receipt["verdict"] == "kept", receipt
        others = re.search(r"accepted none of \d+ connections \(others accepted (\d+)\)", receipt["reason"])
        assert others and int(others[1]) >= 20, receipt
        for way in ("HealthCheck=no\n", "Handover=stop-first\n"):
            s.components["hermes"] = plain + way
            s.apply()
            assert s.receipt("RESTART", "hermes")["verdict"] == "serves"
            load.wait_served(5)
    assert load.made == load.served, str(load)


@pytest.mark.parametrize("words", ["", "direct", "multishot", "direct multishot"])
def test_a_health_check_knows_whose_process_answered(scene, words):
    s = scene(words, NOTIFY + "HealthCheck=http:/\n")
    for verb in ("START", "RESTART", "RESTART"):
        receipt = s.receipt(verb, "hermes")
        assert receipt["verdict"] == "serves", receipt
        assert receipt["ready_by"] == SEEN or receipt["ready_by"].startswith("HTTP status 200"), receipt


def test_connections_that_have_no_descriptor_are_counted_while_it_drains(scene):
    s = scene("direct")
    assert s.receipt("START", "hermes")["verdict"] == "serves"
    if not is_told(s.pids("hermes")[1]):
        pytest.skip("the kernel does not tell what is registered in an io_uring")
    with socket.create_connection(s.addresses["hermes"], timeout=DEADLINE) as connection:
        job = s.job("STOP", "hermes")
        until(lambda: s.component("hermes")["instances"][0]["connections"] == 1, "the connection to be seen")
        connection.sendall(REQUEST)
        assert s.read(connection)["generation"] == "1"
    assert job.wait()["hermes"]["drained"]


def test_of_whom_nothing_at_all_is_seen_the_word_can_be_made_enough(scene):
    s = scene("direct hidden", NOTIFY + "Restart=no\nHealthCheck=no\n")  # a start meanwhile would be of what failed
    assert s.receipt("START", "hermes")["verdict"] == "serves"
    patient = s.components["hermes"]
    s.components["hermes"] = patient.replace("HealthCheck=no\n", s.soon("hermes"))
    s.receipt("STOP", "hermes")
    s.apply()
    receipt = s.receipt("START", "hermes")
    assert receipt["verdict"] == "failed" and "if that is meant, set HealthCheck=no" in receipt["reason"], receipt
    s.components["hermes"] = patient
    s.apply()
    receipt = s.receipt("START", "hermes")
    assert (receipt["verdict"], receipt["ready_by"]) == ("serves", "its own word (READY=1)"), receipt
    assert s.generation("hermes") == receipt["generation"]
