"""Condition…= and Assert…=: what keeps a component from being started, and what becomes of the others."""
import os
import signal

import pytest

from testing.scene import Scene, until

NOTIFY = "Type=notify\n"


@pytest.fixture
def scene(broker, tmp_path):
    return lambda components, **kwargs: Scene(broker, tmp_path, components, **kwargs)


def test_a_condition_that_is_not_met_skips_the_start_and_fails_nobody(scene, tmp_path):
    wanted = tmp_path / "wanted"
    condition = f"ConditionPathExists={wanted}"
    s = scene({"engram": NOTIFY + condition + "\n", "hermes": NOTIFY + "Requires=engram\nAfter=engram\n"})
    assert s.state("hermes") == "ready"
    engram = s.component("engram")
    assert (engram["state"], engram["reason"], engram["instances"]) == ("stopped", f"{condition} is not met", [])
    job = s.job("START", "engram")
    receipt = job.wait()["engram"]
    assert (receipt["verdict"], receipt["reason"]) == ("nothing", f"{condition} is not met")
    assert (job.document["result"], receipt["generation"]) == ("good", 0)
    command = s.broker.fdpass("start", "engram")
    assert f"engram: not started; {condition} is not met" in command.stdout + command.stderr
    wanted.touch()
    assert s.receipt("START", "engram")["verdict"] == "serves"
    assert s.component("engram")["reason"] is None


def test_an_assertion_that_is_not_met_fails_the_start_and_what_requires_it(scene, tmp_path):
    wanted = tmp_path / "wanted"
    manual = NOTIFY + "Start=manual\n"
    s = scene({"engram": manual + f"AssertFileNotEmpty=|{wanted}\nAssertPathExists=|/nonexistent\n",
               "hermes": manual + "Requires=engram\nAfter=engram\n"})
    receipts = s.job("START", "hermes").wait()
    assert {name: one["verdict"] for name, one in receipts.items()} == {"engram": "failed", "hermes": "skipped"}
    assert receipts["engram"]["reason"] == f"AssertFileNotEmpty=|{wanted} is not met, nor is another with '|'"
    assert s.state("engram") == "failed"
    wanted.write_text("x")
    assert s.receipt("START", "hermes")["verdict"] == "serves"


@pytest.mark.parametrize("handover", ["overlap", "stop-first"])
@pytest.mark.parametrize("word", ["Condition", "Assert"])
def test_a_restart_whose_conditions_are_not_met_leaves_the_old_generation(scene, tmp_path, handover, word):
    unwanted = tmp_path / "unwanted"
    s = scene({"hermes": NOTIFY + f"Handover={handover}\n{word}PathExists=!{unwanted}\n"})
    unwanted.touch()
    receipt = s.receipt("RESTART", "hermes")
    assert (receipt["verdict"], receipt["generation_before"], receipt["reason"]) == \
        ("kept", 1, f"{word}PathExists=!{unwanted} is not met")
    assert s.generation("hermes") == 1
    done = s.broker.fdpass("restart", "hermes", check=False)
    assert done.returncode == 1
    assert "hermes: kept generation 1: no other was started" in done.stdout + done.stderr
    unwanted.unlink()
    assert s.receipt("RESTART", "hermes")["generation"] == 2


def test_conditions_are_looked_at_again_when_it_is_started_again_by_itself(scene, tmp_path):
    s = scene({"hermes": NOTIFY + f"Restart=always\nRestartSec=10ms\nConditionPathExists=!{tmp_path}/unwanted\n"})
    os.kill(s.pids("hermes")[1], signal.SIGKILL)
    until(lambda: s.instances("hermes") == {(2, 0): "ready"}, "the second generation")
    (tmp_path / "unwanted").touch()
    os.kill(s.pids("hermes")[2], signal.SIGKILL)
    assert s.wait_state("hermes", "stopped")["reason"].startswith("ConditionPathExists=!")
