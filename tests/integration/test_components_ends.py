"""How components end, what is told of it, and what Restart= and KillMode= make of it."""
import os
import select
import signal
import sys

import pytest

from testing.process import until
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


# ---- who is told to end, and who is left -----------------------------------------------------------------------


def tree(folder):
    """A program that ends by SIGTERM, and its child, which notes the signals that it gets and ends by SIGKILL."""
    program = folder / "tree.py"
    program.write_text(f"""\
import os, signal, sys
if os.fork() == 0:
    def note(number, _):
        with open("{folder}/told", "a") as file:
            file.write(signal.Signals(number).name + "\\n")
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, note)
    with open("{folder}/child.new", "w") as file:
        file.write(str(os.getpid()))
    os.rename("{folder}/child.new", "{folder}/child")
while True:
    signal.pause()
""")
    return f"{sys.executable} -IS {program}"


def ended(fd):
    return bool(select.select([fd], [], [], 0)[0])


@pytest.mark.parametrize("directives, told, is_left, main_is_left", [
    ("KillMode=control-group\nTimeoutStopSec=200ms", "SIGTERM", False, False),
    ("KillMode=control-group\nTimeoutStopSec=200ms\nSendSIGHUP=yes", "SIGHUP SIGTERM", False, False),
    ("KillMode=control-group\nTimeoutStopSec=200ms\nSendSIGKILL=no", "SIGTERM", True, False),
    ("KillMode=mixed", "", False, False),
    ("KillMode=mixed\nSendSIGKILL=no", "", True, False),
    ("KillMode=mixed\nFinalKillSignal=SIGQUIT\nTimeoutStopSec=200ms", "SIGQUIT", True, False),
    ("KillMode=process", "", True, False),
    ("KillMode=process\nExecStop=/bin/sh -c 'kill $$MAINPID; while kill -0 $$MAINPID 2>&-; do :; done'",
     "", True, False),
    ("KillMode=none\nTimeoutStopSec=200ms", "", True, True),
])
def test_whom_a_stop_reaches(scene, tmp_path, free_fds, directives, told, is_left, main_is_left):
    """Who is left alone is not waited for either, once the rest of it has ended or its time is over."""
    s = scene({"hermes": f"Sockets=\nExecStart={tree(tmp_path)}\n{directives}\n"})
    until((tmp_path / "child").exists, lambda: "the child")
    child = int((tmp_path / "child").read_text())
    free_fds += [os.pidfd_open(child), os.pidfd_open(s.pids("hermes")[1])]
    try:
        receipt = s.receipt("STOP", "hermes")
        assert receipt["verdict"] == "done"
        assert [ended(fd) for fd in free_fds] == [not is_left, not main_is_left]
        heard = (tmp_path / "told").read_text().split() if (tmp_path / "told").exists() else []
        assert sorted(set(heard)) == told.split()
    finally:
        for fd in free_fds:
            if not ended(fd):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
