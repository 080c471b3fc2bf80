"""
A broker that was held up, as on a machine that had no time for it: deadlines have passed meanwhile, and what they
are for was done in time. What it takes to hear of that is more than one descriptor that can be read.
"""
import os
import signal
import time

import pytest

from testing.scene import Scene

NOTIFY = "Type=notify\n"


@pytest.fixture
def scene(broker, tmp_path):
    return lambda components, **kwargs: Scene(broker, tmp_path, components, **kwargs)


def hold_up(pid, seconds):
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("directives", [
    NOTIFY,
    NOTIFY + "HealthCheck=http:/\n",
    "Type=exec\n",
    NOTIFY + "HealthCheck=no\nExecStartPre=sleep 0.1\nExecStartPre=true\nExecStartPre=true\n",
    NOTIFY + "HealthCheck=no\nExecStartPost=sleep 0.1\nExecStartPost=true\nExecStartPost=true\n",
], ids=["seen to wait", "healthy", "silent", "prepared", "completed"])
def test_who_started_in_time_serves(scene, directives):
    s = scene({"hermes": directives})
    soon = s.soon_ms("hermes")
    s.components["hermes"] += f"TimeoutStartSec={soon}ms\n"
    s.apply()
    job = s.job("RESTART", "hermes").step("starting", generation=2)
    hold_up(s.broker.broker_pid, soon / 1000 + 0.5)
    receipt = job.wait()["hermes"]
    assert receipt["verdict"] == "serves", (receipt, s.broker.log())


@pytest.mark.parametrize("directives", ["", "ExecStop=sleep 0.1\n"], ids=["told", "command"])
def test_who_ended_in_time_or_was_not_told_yet_is_not_killed(scene, directives):
    s = scene({"hermes": NOTIFY + directives})
    soon = s.soon_ms("hermes")
    s.components["hermes"] += f"TimeoutStopSec={soon}ms\n"
    s.apply()
    s.receipt("RESTART", "hermes")
    broker = s.broker.broker_pid
    job = s.job("STOP", "hermes").step("draining")
    hold_up(broker, soon / 1000 + 0.5)
    receipt = job.wait()["hermes"]
    assert not receipt["killed"], (receipt, s.broker.log())


def test_how_it_ended_is_known_when_the_keeper_was_held_up(scene, tmp_path):
    """It collects what an earlier broker started, and nobody is told the status before that."""
    s = scene({"hermes": NOTIFY + "Restart=on-failure\nRestartSec=10ms\n"})
    s.do("hermes", f"leave={tmp_path}/leave")
    s.receipt("RESTART", "hermes")
    os.kill(s.broker.broker_pid, signal.SIGKILL)
    s.wait_state("hermes", "ready")
    s.file("leave")
    hold_up(s.broker.pid, 1.5)
    assert s.wait_state("hermes", "stopped")["last_end"]["text"] == "exited with status 0", s.broker.log()
    assert s.component("hermes")["restarts"] == 0
