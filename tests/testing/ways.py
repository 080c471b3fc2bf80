"""Ways in which a broker that has components goes away, and what a test of that looks at."""
import json
import os
import subprocess
import threading

import pytest

from .broker import DEADLINE, FDPASS, FDPASSD, children_of, end_both
from .process import end, reap, until
from .scene import Scene


def session_and_state(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[3]), fields[0]


def collect_orphans(stop):
    """What an init does: each component and command has a session of its own, what we started has ours."""
    while not stop.wait(0.005):
        for pid in children_of(os.getpid()):
            try:
                if session_and_state(pid) == (pid, "Z"):
                    os.waitpid(pid, os.WNOHANG)
            except (OSError, IndexError):
                pass


@pytest.fixture(autouse=True)
def collector(subreaper):
    """What a keeper and a broker leave that are killed both becomes our child."""
    stop = threading.Event()
    thread = threading.Thread(target=collect_orphans, args=[stop])
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture
def scene(broker, tmp_path):
    started = []

    def start(directives, name="hermes", **kwargs):
        started.append(Scene(broker, tmp_path, {name: directives}, **kwargs))
        return started[-1]

    yield start
    for s in started:
        for gate in tmp_path.glob("gate*"):
            gate.unlink()
        if os.path.exists(s.broker.control):  # by whatever keeper there is now
            s.broker.fdpass("stop", "--all")
            if s.broker.process.poll() is not None:
                end_both(*s.broker.pids())


def kill_broker(s):
    pid = s.broker.broker_pid
    end(pid)
    until(lambda: s.broker.broker_pid != pid, "another broker")
    if pid in children_of(os.getpid()):
        reap(pid)


def kill_keeper(s):
    keeper = s.broker.pids()[1]
    end(keeper)
    if keeper == s.broker.process.pid:
        s.broker.process.wait()
    elif keeper in children_of(os.getpid()):
        reap(keeper)
    until(lambda: s.broker.pids()[1] not in (None, keeper), "another keeper")


def kill_keeper_then_broker(s):
    kill_keeper(s)
    kill_broker(s)


def upgrade(s):
    assert "Upgraded" in s.broker.fdpass("upgrade", FDPASSD).stdout


WAYS = [kill_broker, upgrade, kill_keeper_then_broker, kill_broker, upgrade]


def zombies(*pids):
    found = []
    for pid in pids:
        for child in children_of(pid):
            try:
                with open(f"/proc/{child}/stat", encoding="utf-8", errors="replace") as file:
                    if file.read().rpartition(")")[2].split()[0] == "Z":
                        found.append(child)
            except OSError:
                pass
    return found


def wait_no_zombies(*pids):
    until(lambda: zombies(*pids) == [], lambda: f"zombies {zombies(*pids)} to be collected")


class Command:
    """`fdpass ... --json` in the background."""

    def __init__(self, s, *arguments):
        self.arguments = arguments
        self.process = subprocess.Popen([FDPASS, *arguments, "--json"], env=s.broker.environment(), text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def finish(self):
        """Its exit status, document and messages."""
        out, error = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, json.loads(out) if out else None, error

    def receipt(self):
        """That of the one component that it was about."""
        status, document, _ = self.finish()
        receipt = document["components"][0]
        assert (status == 0) == (receipt["verdict"] in ("serves", "done", "nothing"))
        return receipt
