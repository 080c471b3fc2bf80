"""Commands around a component, how it ends, and what NotifyAccess=, Restart= and KillMode= make of that."""
import os
import select
import signal
import sys
import time

import pytest

from testing.process import until
from testing.scene import Scene

NOTIFY = "Type=notify\n"


@pytest.fixture
def scene(broker, tmp_path):
    return lambda components, **kwargs: Scene(broker, tmp_path, components, **kwargs)


# ---- what commands say -----------------------------------------------------------------------------------------

SPEAK = """\
import os, socket, sys, time
def say(text):
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(text.encode(), chr(0) + path[1:] if path[0] == "@" else path)
"""


def command(folder, text):
    program = folder / "command.py"
    program.write_text(SPEAK + text)
    return f"{sys.executable} -IS {program}"


def begin_command(s, folder, key, access):
    """
    A job that runs one which asks for more time than there is, begins, and waits for a file; and after how many seconds
    there would be no more time.
    """
    program = command(folder, f"""
say("READY=1\\nEXTEND_TIMEOUT_USEC=60000000")
print("begun", flush=True)
while not os.path.exists("{folder}/go"):
    time.sleep(0.01)
print("over", flush=True)
""")
    s = s({"hermes": NOTIFY + "Restart=no\n"})
    soon = s.soon_ms("hermes")
    s.components["hermes"] += (f"Start=manual\nTimeoutStartSec={soon}ms\nTimeoutStopSec={soon}ms\n"
                               f"NotifyAccess={access}\n{key}={program}\n")
    s.receipt("STOP", "hermes")
    s.apply()
    verb = {"ExecReload": "RELOAD", "ExecStop": "STOP", "ExecStopPost": "STOP"}.get(key, "START")
    if verb != "START":
        assert s.receipt("START", "hermes")["verdict"] == "serves"
    job = s.job(verb, "hermes")
    s.said("hermes", "begun")
    return s, job, soon / 1000 + 0.5


@pytest.mark.parametrize("key, access", [("ExecStartPre", "exec"), ("ExecStartPost", "exec"), ("ExecReload", "exec"),
                                         ("ExecStop", "exec"), ("ExecStopPost", "exec"), ("ExecReload", "all"),
                                         ("ExecReload", "main"), ("ExecStopPost", "main")])
def test_a_command_may_ask_for_time_where_notify_access_says_so(scene, tmp_path, key, access):
    s, job, limit = begin_command(scene, tmp_path, key, access)
    begun = time.monotonic()
    if access != "main":
        until(lambda: time.monotonic() > begun + limit, "the limit to be over")
        (tmp_path / "go").touch()
    job.wait()
    assert ("over" in s.lines("hermes")) == (access != "main")


def test_a_command_is_heard_by_the_next_broker(scene, tmp_path, subreaper):
    s, job, limit = begin_command(scene, tmp_path, "ExecStartPre", "exec")
    begun = time.monotonic()
    os.kill(s.broker.broker_pid, signal.SIGKILL)
    job.client.close()
    until(lambda: time.monotonic() > begun + limit, "the limit to be over")
    (tmp_path / "go").touch()
    s.wait_state("hermes", "ready")


def test_the_last_words_of_a_command_are_heard(scene, tmp_path):
    """It has ended before they are read."""
    program = command(tmp_path, 'say("STATUS=" + sys.argv[1])')
    s = scene({"hermes": NOTIFY + f"NotifyAccess=exec\nExecReload={program} $NUMBER\n"})
    for number in range(20):
        s.do("hermes", "", f"NUMBER={number}\n")
        assert s.receipt("RELOAD", "hermes")["verdict"] == "done"
        assert s.component("hermes")["instances"][0]["status"] == str(number)


def test_a_stop_command_is_for_a_program_that_was_ready(scene):
    """One that starts has nothing yet that such a command could talk to."""
    s = scene({"hermes": NOTIFY + "Start=manual\nExecStop=/bin/echo goodbye\nExecStopPost=/bin/echo cleaned\n"})
    s.do("hermes", "never")
    job = s.job("START", "hermes")
    s.said("hermes", "waits for the database")
    assert s.receipt("STOP", "hermes")["verdict"] == "done"
    job.wait()
    assert "goodbye" not in s.lines("hermes") and "cleaned" in s.lines("hermes")
    s.do("hermes", "")
    assert s.receipt("START", "hermes")["verdict"] == "serves"
    assert s.receipt("STOP", "hermes")["verdict"] == "done"
    assert "goodbye" in s.lines("hermes")


# ---- Restart= --------------------------------------------------------------------------------------------------


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


def test_who_ends_well_and_never_said_ready_has_failed(scene):
    s = scene({name: NOTIFY + f"Start=manual\nRestart={name}\nRestartSec=1h\nRestartSteps=0\n"
               for name in ("no", "on-failure", "on-success", "on-abnormal")})
    for name in s.components:
        s.do(name, "exit=0")
        assert s.receipt("START", name)["reason"] == "exited with status 0 before it was ready"
        s.wait_state(name, "back-off" if name in ("on-failure", "on-abnormal") else "failed")


def test_of_a_program_whose_failure_is_none_it_is_none(scene):
    s = scene({"hermes": "Sockets=\nStart=manual\nRestart=on-failure\nExecStart=-/bin/sh -c 'exit 7'\n"})
    assert s.receipt("START", "hermes")["verdict"] in ("serves", "failed")  # it may be gone before that is seen
    assert s.wait_state("hermes", "stopped")["last_end"]["text"].startswith("exited with status 7")


def test_that_one_instance_of_several_is_to_be_started_again_is_seen(scene):
    """The others serve, so the component is ready; it is not as it should be."""
    s = scene({"hermes": NOTIFY + "Instances=2\nRestart=on-failure\nRestartSec=1h\nRestartSteps=0\n"
                                  "Handover=stop-first\n"})
    assert s.component("hermes")["back_off_ms"] is None
    s.do("hermes", "exit=3")
    done = s.broker.fdpass("restart", "hermes", check=False)
    assert done.returncode == 1 and "  It is started again in " in done.stderr, done
    component = s.component("hermes")
    assert component["state"] == "ready" and 0 < component["back_off_ms"] <= 3600000
    assert "an instance again in " in s.broker.fdpass("status").stdout
    s.do("hermes", "")
    assert s.receipt("START", "hermes")["verdict"] == "serves"
    assert s.component("hermes")["back_off_ms"] is None


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
    ("KillMode=control-group\nTimeoutStopSec=2s", "SIGTERM", False, False),
    ("KillMode=control-group\nTimeoutStopSec=2s\nSendSIGHUP=yes", "SIGHUP SIGTERM", False, False),
    ("KillMode=control-group\nTimeoutStopSec=2s\nSendSIGKILL=no", "SIGTERM", True, False),
    ("KillMode=mixed", "", False, False),
    ("KillMode=mixed\nSendSIGKILL=no", "", True, False),
    ("KillMode=mixed\nFinalKillSignal=SIGQUIT\nTimeoutStopSec=2s", "SIGQUIT", True, False),
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
