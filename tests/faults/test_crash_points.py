"""
The broker dies at its n-th system call, for every n: while it starts, starts again, applies, lends, and starts and
restarts a component.

strace's injection kills it (`inject=NAME:signal=SIGKILL:when=N`; it counts each system call for itself, so a run
without a death tells which the n-th is), the keeper starts the next one. After each death the
same socket must be there under every name, every lease of a living holder known, no descriptor left over in keeper or
broker, and the control socket the same.

Every point takes a fifth of a second, so by default only some of them are tried: FDPASS_TEST_CRASH_POINTS sets how
many a part (12), or "all".
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from testing.broker import (DEADLINE, FDPASSD, children_of, clean_environment, end_both, free_address, parent_of,
                            program_of)
from testing.process import fds_at_rest, open_fds, until
from testing.scene import SERVER

POINTS = os.environ.get("FDPASS_TEST_CRASH_POINTS", "12")

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")


def section(name, address):
    return "[Socket %s]\nListenStream=%s:%d\n" % (name, *address)


class Scene:
    """A broker with a holder; what must be the same after every death."""

    def __init__(self, broker, processes):
        self.address = free_address()
        self.unix = None
        self.b = broker("[Socket web]\nListenStream=%s:%d\n" % self.address)
        self.unix = os.path.join(self.b.folder, "app.sock")
        with open(self.b.config_path, "a", encoding="ascii") as file:
            file.write(f"[Socket app]\nListenStream={self.unix}\n")
        self.b.fdpass("apply")
        self.base = open(self.b.config_path, encoding="ascii").read()
        self.holder = self.b.spawn("web", "app", "--", sys.executable, "-c",
                                   "import time; print('up', flush=True); time.sleep(3600)", stdout=subprocess.PIPE)
        processes.append(self.holder)
        assert self.holder.stdout.readline() == b"up\n"
        self.holder.stdout.close()
        self.control = os.stat(self.b.control).st_ino
        self.inodes = self.b.inode("web"), self.b.inode("app")
        self.file = os.stat(self.unix).st_ino
        self.pid = self.b.pid
        self.begin()
        self.fds = self.count_fds(fds_at_rest)

    def broker_pid(self, other_than=None):
        """The living broker, by the keeper's children: asking it would be a call of its own."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            ours = program_of(self.pid)  # a component whose broker died is the keeper's child, too
            found = [pid for pid in children_of(self.pid) if pid != other_than and program_of(pid) == ours]
            if found:
                return found[0]
            time.sleep(0.002)
        raise AssertionError("no broker:\n" + self.b.log())

    def begin(self):
        """The state that every point starts from."""
        self.b.write_config(self.base)
        self.b.fdpass("apply", "--allow-close")

    def count_fds(self, count=open_fds):
        with self.b.client() as client:  # the sessions before it are closed when it is answered
            assert client.request("HELLO").ok
            pid = self.broker_pid()
            return [count(p) for p in (pid, self.pid)]

    def wait_fds(self, about):
        """The keeper hears a little later than the broker that a holder has ended."""
        deadline = time.monotonic() + DEADLINE
        while (found := self.count_fds()) != self.fds:
            assert time.monotonic() < deadline, f"{found} descriptors in broker and keeper, {self.fds} before; {about}"
            time.sleep(0.01)

    def check(self, point):
        about = f"killed at system call {point}:\n{self.b.log()[-4000:]}"
        status = {l["name"]: l for l in self.b.status()["listeners"]}
        assert (status["web"]["sockets"][0]["inode"], status["app"]["sockets"][0]["inode"]) == self.inodes, about
        for name in ("web", "app"):
            assert [lease["pid"] for lease in status[name]["leases"]] == [self.holder.pid], about
        assert os.stat(self.b.control).st_ino == self.control, about
        assert os.stat(self.unix).st_ino == self.file, about
        with socket.create_connection(self.address), socket.socket(socket.AF_UNIX) as peer:
            peer.connect(self.unix)
        self.begin()
        assert set(l["name"] for l in self.b.status()["listeners"]) == {"web", "app"}, about
        self.wait_fds(about)
        return status


def attach(pid, expression, log):
    """strace on a process; returns when it is at work."""
    tracer = subprocess.Popen(["strace", "-o", log, "-e", "trace=all", "-e", expression, "-p", str(pid)], stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, start_new_session=True)
    while True:
        line = tracer.stderr.readline()
        assert line, f"strace cannot attach to {pid}"
        if b"attached" in line:
            return tracer


def detach(tracer):
    if tracer.poll() is None:
        tracer.send_signal(signal.SIGINT)
    tracer.wait(20)
    tracer.stderr.close()


def calls_of(log, before=""):
    """The names of the system calls in their order."""
    with open(log, encoding="utf-8", errors="replace") as file:
        return [found[1] for found in (re.match(before + r"([a-z]\w*)\(", line) for line in file) if found]


def count_calls(scene, action, log):
    tracer = attach(scene.broker_pid(), "trace=all", log)
    action(scene)
    detach(tracer)
    return calls_of(log)


def numbers(total):
    """Which of so many calls are tried."""
    count = total if POINTS == "all" else min(total, int(POINTS))
    return sorted({1 + n * total // count for n in range(count)})


def death_at(calls, point):
    """strace counts the calls of each name by themselves."""
    name = calls[point - 1]
    return f"inject={name}:signal=SIGKILL:when={calls[:point].count(name)}"


def points(calls):
    """Number and name of the call, and strace's expression for a death at it."""
    for point in numbers(len(calls)):
        yield f"{point}, {calls[point - 1]}", death_at(calls, point)


def check_deaths(deaths):
    """What comes after the answer may be traced no longer; but most points must have been reached."""
    assert sum(deaths) >= len(deaths) / 2, f"the broker died at {sum(deaths)} points of {len(deaths)}"


def apply_more(scene):
    scene.b.write_config(scene.base + section("new", free_address()) +
                         f"[Socket more]\nListenStream={scene.b.folder}/more.sock\n")
    return scene.b.fdpass("apply", check=False)


def apply_less(scene):
    """Closes what apply_more() opened, in a state prepared by it."""
    scene.b.write_config(scene.base)
    return scene.b.fdpass("apply", "--allow-close", check=False)


def acquire(scene):
    return scene.b.fdpass("exec", "web", "--", "true", check=False)


@pytest.mark.parametrize("action, prepare", [(apply_more, None), (apply_less, apply_more), (acquire, None)],
                         ids=["apply that opens", "apply that closes", "acquire"])
def test_killed_at_each_system_call_of(broker, processes, tmp_path, action, prepare):
    scene = Scene(broker, processes)
    if prepare:
        prepare(scene)
    calls = count_calls(scene, action, tmp_path / "trace")
    assert len(calls) > 10
    deaths = []
    for point, expression in points(calls):
        scene.begin()
        if prepare:
            prepare(scene)
        pid = scene.broker_pid()
        tracer = attach(pid, expression, tmp_path / "killed")
        done = action(scene)
        detach(tracer)
        assert done.returncode == 0, (point, done, scene.b.log()[-4000:])
        deaths.append(scene.broker_pid() != pid)
        scene.check(point)
    check_deaths(deaths)


class ComponentScene(Scene):
    """One that runs a component beside it."""

    def __init__(self, broker, processes):
        super().__init__(broker, processes)
        self.component = free_address()
        self.base += (section("hermes", self.component) + "[Component hermes]\nSockets=hermes\nNonBlocking=yes\n"
                      "Type=notify\nTimeoutStartSec=20\nStart=manual\n"
                      f"ExecStart={sys.executable} -IS {SERVER}\n")
        self.begin()
        self.b.fdpass("start", "hermes")
        self.fds = None
        self.files = None

    def hermes(self):
        return self.b.status()["components"][0]

    def serving(self):
        instances = self.hermes()["instances"]
        assert [i["state"] for i in instances] == ["ready"], (instances, self.b.log()[-4000:])
        return instances[0]["generation"], instances[0]["pid"]

    def check(self, point):
        """One generation serves, is the one whose process lives, and nothing of another is left."""
        about = f"killed at system call {point}:\n{self.b.log()[-4000:]}"
        generation, pid = self.serving()
        with socket.create_connection(self.component, timeout=DEADLINE) as peer:
            peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = peer.recv(4096).decode()
        assert f"generation={generation}\n" in answer and f"pid={pid}\n" in answer, (answer, about)
        until(lambda: servers(self.b) == [pid], lambda: f"processes {servers(self.b)}, not {[pid]}; {about}")
        files = sorted(re.sub(r"\d+", "N", name) for name in os.listdir(self.b.folder))
        self.files = self.files or files
        assert files == self.files, about
        self.fds = self.fds or self.count_fds(fds_at_rest)
        self.wait_fds(about)


def servers(b):
    """Processes of this broker that run the component's program."""
    found, ours = [], f"FDPASS_SOCKET={b.control}".encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if file.read().split(b"\0")[2:3] != [SERVER.encode()]:
                    continue
            with open(f"/proc/{pid}/environ", "rb") as file:
                if ours in file.read().split(b"\0"):
                    found.append(int(pid))
        except OSError:
            pass
    return found


def stop(scene):
    return scene.b.fdpass("stop", "hermes")


def start(scene):
    return scene.b.fdpass("start", "hermes", check=False)


def restart(scene):
    return scene.b.fdpass("restart", "hermes", check=False)


@pytest.mark.parametrize("action, prepare", [(start, stop), (restart, None)], ids=["start", "restart"])
def test_killed_at_each_system_call_of_a_components(broker, processes, tmp_path, action, prepare):
    scene = ComponentScene(broker, processes)
    if prepare:
        prepare(scene)
    calls = count_calls(scene, action, tmp_path / "trace")
    assert len(calls) > 50
    scene.check(0)
    deaths = []
    for point, expression in points(calls):
        if prepare:
            prepare(scene)
        generation, pid = scene.hermes()["generation"], scene.broker_pid()
        tracer = attach(pid, expression, tmp_path / "killed")
        done = action(scene)
        detach(tracer)
        deaths.append(scene.broker_pid() != pid)
        assert done.returncode == 0, (point, done, scene.b.log()[-4000:])
        assert scene.hermes()["generation"] > generation
        scene.check(point)
    check_deaths(deaths)
    stop(scene)


def test_killed_between_the_commands_of_a_component_none_is_run_twice(broker, processes, tmp_path):
    """Where a process is about to be started: what ran before it has ended, and is not to be begun again."""
    scene = ComponentScene(broker, processes)
    ran = tmp_path / "ran"
    steps = [("ExecStartPre", "one"), ("ExecStartPre", "two"), ("ExecStartPost", "three"), ("ExecStartPost", "four")]
    scene.base += "".join(f"{key}=/bin/sh -c 'echo {word} >>{ran}'\n" for key, word in steps)
    scene.begin()
    calls = count_calls(scene, restart, tmp_path / "trace")
    deaths = []
    for point in (n for n, name in enumerate(calls, 1) if name in ("clone", "clone3", "fork")):
        ran.unlink()
        pid = scene.broker_pid()
        tracer = attach(pid, death_at(calls, point), tmp_path / "killed")
        assert restart(scene).returncode == 0
        detach(tracer)
        deaths.append(scene.broker_pid() != pid)
        assert ran.read_text().split() == [word for _, word in steps], (point, scene.b.log()[-4000:])
        scene.check(point)
    check_deaths(deaths)
    stop(scene)


def start_under_strace(scene, expression, log):
    """The next broker, from its first system call on: strace follows the keeper, which starts it."""
    pid = scene.broker_pid()
    tracer = subprocess.Popen(["strace", "-f", "-o", log, "-e", expression, "-p", str(scene.pid)],
                              stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    while b"attached" not in tracer.stderr.readline():
        assert tracer.poll() is None
    os.kill(pid, signal.SIGKILL)
    return tracer, pid


def test_killed_at_each_system_call_of_a_start_after_a_crash(broker, processes, tmp_path):
    scene = Scene(broker, processes)
    log = tmp_path / "trace"
    tracer, pid = start_under_strace(scene, "trace=all", log)
    successor = scene.broker_pid(other_than=pid)
    scene.b.status()
    detach(tracer)
    calls = calls_of(log, rf"{successor} +")
    assert len(calls) > 50
    deaths = []
    for point, expression in points(calls):
        successor = kill_successor_at(scene, expression, str(tmp_path / f"at{len(deaths)}"))
        deaths.append(scene.broker_pid() != successor)
        scene.check(point)
    check_deaths(deaths)


def kill_successor_at(scene, expression, log):
    """
    strace counts for each process of its own, so that the keeper, being followed, would be killed at
    its n-th call too; so only its child, caught at the exec, is traced on. Returns the child's pid.
    """
    pid = scene.broker_pid()
    catcher = subprocess.Popen([sys.executable, "-c", FIRST, str(scene.pid), expression, log],
                               stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        until(lambda: os.path.exists(f"{log}.up"), "the keeper to be traced")
        os.kill(pid, signal.SIGKILL)
        tracer, successor = caught(log)
        scene.b.status()  # of this one or of the next
        interrupt(tracer)
    finally:
        catcher.wait(20)
    return successor


# Of a keeper, or beside the shell that executes one: strace stops the broker in its very exec, so that not one of its system calls
# is missed, and another strace, which counts for the broker alone, kills it at the one that is wanted.
FIRST = """
import os, signal, subprocess, sys, time
keeper, expression, log = sys.argv[1:]

def trace(expression, pid, *more):
    tracer = subprocess.Popen(["strace", "-o", log, "-e", expression, *more, "-p", pid], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while b"attached" not in tracer.stderr.readline():
        pass
    return tracer

def state(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"  # the broker before it, collected just now

def program(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""

catcher = trace("inject=execveat:signal=SIGSTOP", keeper, "-f")
open(log + ".up", "w").close()
while True:
    with open(f"/proc/{keeper}/task/{keeper}/children") as file:
        found = [pid for pid in file.read().split() if int(pid) != os.getpid()]
    if found and state(found[0]) in ("T", "t") and program(found[0]).endswith("fdpassd"):
        break
    time.sleep(0.001)
with open(log) as file:
    while "execveat" not in file.read():
        time.sleep(0.001)
        file.seek(0)
os.kill(int(found[0]), signal.SIGSTOP)  # or the end of the first strace would let it run
catcher.send_signal(signal.SIGINT)
catcher.wait()
while state(found[0]) != "T":
    time.sleep(0.001)
tracer = trace(expression, found[0])
with open(log + ".new", "w") as file:
    file.write(f"{tracer.pid} {found[0]}")
os.rename(log + ".new", log + ".pid")
os.kill(int(found[0]), signal.SIGCONT)
tracer.wait()
"""


def caught(log):
    """The pids of strace and of the broker that it traces."""
    until(lambda: os.path.exists(f"{log}.pid"), "the broker to be caught")
    with open(f"{log}.pid", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def interrupt(tracer):
    try:
        os.kill(tracer, signal.SIGINT)
    except ProcessLookupError:
        pass


def first_start(broker, expression, log):
    address = free_address()
    b = broker("[Socket web]\nListenStream=%s:%d\n" % address, wrapper=[
        "sh", "-c", '"$PYTHON" -c "$CATCH" $$ "$EXPRESSION" "$TRACE" </dev/null & '
                    'until [ -e "$TRACE.up" ]; do :; done; exec "$@"', "sh"],
        env={"PYTHON": sys.executable, "CATCH": FIRST, "EXPRESSION": expression, "TRACE": log})
    interrupt(caught(log)[0])
    return b, address


def keeper_fds(b):
    return len(os.listdir(f"/proc/{b.pid}/fd"))


def test_killed_at_each_system_call_of_its_first_start(broker, tmp_path):
    b, _ = first_start(broker, "trace=all", str(tmp_path / "whole"))
    usual = keeper_fds(b)
    b.stop()
    calls = calls_of(tmp_path / "whole")
    assert len(calls) > 50
    deaths = []
    for point, expression in points(calls):
        b, address = first_start(broker, expression, str(tmp_path / f"at{len(deaths)}"))
        deaths.append("the broker died" in b.log())
        socket.create_connection(address).close()
        assert b.listener("web")["sockets"][0]["adopted"] is False
        deadline = time.monotonic() + DEADLINE
        while keeper_fds(b) != usual:
            assert time.monotonic() < deadline, f"{keeper_fds(b)} for {usual}, point {point}: {b.log()}"
            time.sleep(0.01)
        b.stop()
        assert not os.path.exists(b.control), point
    check_deaths(deaths)


# ---- a keeper takes the place of another ------------------------------------------------------------------------


class Succession:
    """A supervisor that starts fdpassd again whenever that ends; its own broker, and who keeps for it."""

    def __init__(self, broker, tmp_path):
        self.b = broker(section("web", free_address()))
        self.inode = self.b.inode("web")
        self.keeper = self.b.process  # which the supervisor started
        self.said = tmp_path / "said"

    def start(self):
        with open(self.said, "wb") as log:
            self.keeper = subprocess.Popen([FDPASSD, "--config", self.b.config_path, "--log-target", "stderr"],
                                           stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_environment())

    def is_keeper(self):
        """Of the broker that serves, and nobody else is."""
        pid = self.b.broker_pid
        return parent_of(pid) == self.keeper.pid or f"is running (pid {pid})" in self.said.read_text()

    def take_over(self, expression, log):
        """The supervisor's keeper is killed, and another comes, with strace on the broker."""
        self.keeper.kill()
        self.keeper.wait()
        broker_pid, made = until(lambda: all(pids := self.b.pids()) and pids, "a keeper that the broker made")
        tracer = attach(broker_pid, expression, log)
        self.start()
        until(lambda: not program_of(made) or not program_of(broker_pid), "the one or the other")  # no call comes between
        deadline = time.monotonic() + DEADLINE
        while program_of(made) or not self.is_at_rest():
            assert time.monotonic() < deadline, f"{log}: {self.running()} run: {self.said.read_text()}"
            if self.keeper.poll() is not None:
                self.start()
            time.sleep(0.01)
        detach(tracer)
        assert self.b.inode("web") == self.inode, f"{log}: {self.said.read_text()}"

    def is_at_rest(self):
        """A killed broker's errands, and an fdpassd that came between, may take a moment more to end."""
        return self.is_keeper() and self.running() == {self.keeper.pid, self.b.broker_pid}

    def running(self):
        ours = os.stat(FDPASSD)
        return {pid for pid in descendants() if program_of(pid) == (ours.st_dev, ours.st_ino)}


def descendants():
    """Our children and theirs: what a killed process leaves is ours."""
    found = []
    for pid in children_of(os.getpid()):
        found += [pid] + children_of(pid)
    return found


def calls_in(log):
    return [line for line in log.read_text(errors="replace").splitlines() if re.match(r"\w+\(", line)]


def try_all(scene, log):
    """What was done when the broker died: with both keepers in charge, and with the old one killed."""
    deaths = set()
    scene.take_over("trace=all", log)
    names = [call.partition("(")[0] for call in calls_in(log)]
    kill = names.index("pidfd_send_signal") + 1
    # The turns of the loop are not the same in every run, but who has ended is asked after only when it was killed.
    after = names.index("waitid", kill) + 1
    for point in sorted(set(numbers(kill)) | set(range(max(1, kill - 12), kill + 3)) | {after}):
        killed = log.with_name(f"killed-{point}")
        scene.take_over(death_at(names, point), killed)
        done = killed.read_text(errors="replace")
        if "+++ killed" in done:
            done = "".join(calls_in(killed)[:-1])  # the last one was not done any more
            deaths.add(("SOLE=1" in done, "pidfd_send_signal" in done))
    return deaths


def test_killed_at_each_system_call_around_the_end_of_a_keeper_that_is_replaced(broker, tmp_path, subreaper):
    """
    At whichever call the broker dies, one of the two keepers starts the next one, and one only. All those
    around the kill of the old one are tried, and some of what comes before.
    """
    scene = Succession(broker, tmp_path)
    try:
        assert try_all(scene, tmp_path / "trace") == {(False, False), (True, False), (True, True)}
    finally:
        end_both(scene.keeper.pid, scene.b.broker_pid)
