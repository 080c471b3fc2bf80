"""How components end, what is told of it, and what Restart= and KillMode= make of it."""
import sys

import pytest

from testing.scene import Scene

NOTIFY = "Type=notify\n"


@pytest.fixture
def scene(broker, tmp_path):
    return lambda components, **kwargs: Scene(broker, tmp_path, components, **kwargs)


@pytest.mark.parametrize("command", ["ExecStartPre", "ExecStartPost"])
def test_a_command_of_the_start_that_fails_is_a_failure_whatever_becomes_of_the_program(scene, command):
    """The program is ended by our SIGTERM, or was never run: neither is a success, nor an end nobody knows."""
    s = scene({name: NOTIFY + f"Start=manual\nRestart={name}\nRestartSec=1h\nRestartSteps=0\n"
                              f"{command}=/bin/sh -c 'exit 5'\n"
               for name in ("no", "on-failure", "on-success", "on-abort", "on-abnormal", "always")})
    for name in s.components:
        receipt = s.receipt("START", name)
        assert (receipt["verdict"], receipt["reason"]) == ("failed", f"{command}=/bin/sh: exited with status 5")
        s.wait_state(name, "back-off" if name in ("on-failure", "always") else "failed")
