"""
A supervisor that started fdpassd sees its process, the keeper, die and starts it again: that one finds the broker
alive and becomes its keeper, so that the supervisor has again what it supervises.
"""
import json
import os
import select
import signal
import socket
import subprocess
import sys

import pytest

from testing.broker import DEADLINE, FDPASSD, clean_environment, end_both, free_address, program_of
from testing.load import Load
from testing.process import SERVER, end, reap, until
from testing.scene import SERVER as SERVES
from testing.ways import zombies

pytestmark = pytest.mark.usefixtures("subreaper")


class Second:
    """fdpassd started once more with the same options. It is ready, or has ended: .status."""

    number = 0

    def __init__(self, b, config=None, arguments=(), wait=True, user=None):
        Second.number += 1
        self.path = os.path.join(b.folder, f"notify{Second.number}.sock")
        self.log_path = os.path.join(b.folder, f"log{Second.number}")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.path)
        os.chmod(self.path, 0o777)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [FDPASSD, "--config", config or b.config_path, "--log-target", "stderr", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_environment(NOTIFY_SOCKET=self.path),
                user=user, group=user, extra_groups=[] if user else None)
        self.ready = False
        if wait:
            self.wait()

    def wait(self):
        fd = os.pidfd_open(self.process.pid)
        try:
            ready, _, _ = select.select([self.notify, fd], [], [], DEADLINE)
            assert ready, f"neither ready nor ended:\n{self.log()}"
            self.ready = self.notify in ready and b"READY=1" in self.notify.recv(4096)
        finally:
            os.close(fd)
        return self

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def status(self):
        return self.process.wait(DEADLINE)

    def close(self):
        self.notify.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def start_again():
    """As a supervisor does: Second(b). Whatever is left of it is ended."""
    seconds = []

    def start(b, **kwargs):
        seconds.append((b, Second(b, **kwargs)))
        return seconds[-1][1]

    yield start
    for b, second in seconds:
        if os.path.exists(b.control):
            broker = b.fdpass("status", "--json", check=False)
            if broker.returncode == 0:
                pid, keeper = b.pids()
                # One that took a keeper's place is neither parent nor child of the broker, and would start another.
                end_both(pid, keeper or (second.pid if second.process.poll() is None else None))
        second.close()


def section(name, address, more=""):
    return f"[Socket {name}]\nListenStream={address[0]}:{address[1]}\n{more}"


def keeper_of(b):
    until(lambda: b.pids()[1], b.log)
    return b.pids()[1]


def kept_by(pid):
    """The inodes of the sockets that a process has."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            pass
    return found


def serve(b, processes):
    process = b.spawn("web", "--", sys.executable, "-c", SERVER, stdout=subprocess.PIPE)
    processes.append(process)
    assert process.stdout.readline() == b"up\n"
    process.stdout.close()
    return process


def test_a_supervisors_loop_has_its_keeper_again_and_nothing_is_refused(broker, processes, start_again):
    """kill -9 of the keeper, fdpassd again, kill -9 of the broker; and all that once more."""
    address = free_address()
    b = broker(section("web", address, "Backlog=4096\n"))
    inode, server = b.inode("web"), serve(b, processes)
    process, first = b.process, b.broker_pid
    try:
        with Load(address) as load:
            load.wait_served(20)
            for _ in range(3):
                end(process.pid)
                process.wait()
                made = keeper_of(b)
                second = start_again(b)
                assert second.ready and second.process.poll() is None, second.log()
                assert "this fdpassd is its keeper now" in second.log()
                until(lambda pid=made: program_of(pid) is None, "the keeper that the broker made is still there")
                reap(made)
                until(lambda: f"socket:[{inode}]" in kept_by(second.pid), "the new keeper does not have the socket")
                process, pid = second.process, b.broker_pid
                end(pid)
                until(lambda old=pid: b.broker_pid != old, second.log)
                reap(pid)
                assert b.pids() == (b.broker_pid, process.pid)
                assert list(b.leases("web")) == [server.pid]
            load.wait_served(20)
        assert load.refused == 0 and load.cut == 0 and not load.others, load
        assert b.inode("web") == inode and b.broker_pid != first
        end(process.pid, signal.SIGTERM)
        assert process.wait() == 0
        until(lambda: not os.path.exists(b.control), "the broker did not end")
    finally:
        b.process = process


def adopt(b, start_again):
    """The started keeper is killed, and another fdpassd is in its place: that one, and the broker."""
    end(b.process.pid)
    b.process.wait()
    keeper_of(b)
    second = start_again(b)
    assert second.ready, second.log() + b.log()
    return second, b.broker_pid


def test_sigterm_to_the_new_keeper_ends_both_with_0_and_sighup_applies(broker, start_again):
    b = broker(section("web", free_address()))
    second, pid = adopt(b, start_again)
    with open(b.config_path, "a", encoding="ascii") as file:
        file.write(section("api", free_address()))
    os.kill(second.pid, signal.SIGHUP)
    until(lambda: len(b.status()["listeners"]) == 2, "SIGHUP is not forwarded")
    os.kill(second.pid, signal.SIGTERM)
    assert second.status() == 0, second.log()
    reap(pid)
    assert program_of(pid) is None and not os.path.exists(b.control)


def test_sigterm_to_the_broker_ends_the_new_keeper_with_0(broker, start_again):
    b = broker(section("web", free_address()))
    second, pid = adopt(b, start_again)
    os.kill(pid, signal.SIGTERM)
    assert second.status() == 0, second.log()
    reap(pid)


def test_beside_a_keeper_that_was_started_from_outside_it_exits_with_4(broker, start_again):
    b = broker(section("web", free_address()))
    for number in (None, signal.SIGSTOP):
        if number:
            os.kill(b.process.pid, number)
        second = start_again(b)
        assert not second.ready and second.status() == 4 and "already running" in second.log()
    os.kill(b.process.pid, signal.SIGCONT)
    assert b.listener("web") and b.pids()[1] == b.process.pid
    third, _ = adopt(b, start_again)
    fourth = start_again(b)
    assert fourth.status() == 4 and third.process.poll() is None


def test_of_two_that_are_started_at_once_one_is_the_keeper_and_one_exits_with_4(broker, start_again):
    b = broker(section("web", free_address()))
    pid = b.broker_pid
    end(b.process.pid)
    b.process.wait()
    made = keeper_of(b)
    os.kill(pid, signal.SIGSTOP)  # both have asked when it goes on
    both = [start_again(b, wait=False) for _ in range(2)]
    until(lambda: unread(b) == 2, "they do not call")
    os.kill(pid, signal.SIGCONT)
    for one in both:
        one.wait()
    winners = [one for one in both if one.ready]
    losers = [one for one in both if not one.ready]
    assert len(winners) == 1, [one.log() for one in both]
    assert losers[0].status() == 4 and "already running" in losers[0].log()
    until(lambda: program_of(made) is None, "the keeper that the broker made is still there")
    reap(made)
    end(pid)
    until(lambda: b.broker_pid != pid, winners[0].log)
    reap(pid)
    assert b.pids()[1] == winners[0].pid


def unread(b):
    """Connections that wait at the control socket."""
    done = subprocess.run(["ss", "-xlH", "src", b.control], capture_output=True, text=True, check=True,
                          stdin=subprocess.DEVNULL)
    return int(done.stdout.split()[2])


def test_a_stopped_keeper_of_the_brokers_own_is_replaced_and_ended(broker, start_again):
    b = broker(section("web", free_address()))
    inode = b.inode("web")
    end(b.process.pid)
    b.process.wait()
    made = keeper_of(b)
    os.kill(made, signal.SIGSTOP)
    second = start_again(b)
    assert second.ready, second.log()
    until(lambda: program_of(made) is None, "the stopped keeper is still there")
    reap(made)
    pid = b.broker_pid
    end(pid)
    until(lambda: b.broker_pid != pid, second.log)
    reap(pid)
    assert b.inode("web") == inode and b.pids()[1] == second.pid


def test_the_new_keeper_is_no_stray_that_is_to_be_ended(broker, start_again):
    """It has the listeners, and is neither who started the broker nor its child."""
    component = f"[Component web]\nSockets=web\nType=notify\nNonBlocking=yes\nExecStart={sys.executable} -IS {SERVES}\n"
    b = broker(section("web", free_address()) + component)
    b.fdpass("start", "web")
    second, pid = adopt(b, start_again)
    assert json.loads(b.fdpass("restart", "web", "--json").stdout)["components"][0]["strays"] == [], second.pid
    assert "belongs to no generation" not in b.log()
    b.fdpass("stop", "web")
    os.kill(second.pid, signal.SIGTERM)
    assert second.status() == 0, second.log()
    reap(pid)


def test_a_keeper_that_a_broker_made_is_known_after_that_brokers_death_and_upgrade(broker, start_again):
    """It is then the parent of the present broker."""
    b = broker(section("web", free_address()))
    inode, pid = b.inode("web"), b.broker_pid
    end(b.process.pid)
    b.process.wait()
    made = keeper_of(b)
    end(pid)
    until(lambda: b.broker_pid != pid, b.log)
    reap(pid)
    assert b.pids()[1] == made
    b.fdpass("upgrade")
    until(lambda: "upgraded in place" in b.log(), b.log)
    second = start_again(b)
    assert second.ready, second.log()
    until(lambda: program_of(made) is None, "the keeper that a broker made is still there")
    reap(made)
    broker_pid = b.broker_pid
    end(broker_pid)
    until(lambda: b.broker_pid != broker_pid, second.log)
    reap(broker_pid)
    assert b.inode("web") == inode


def stopped_as_soon_as_it_is_there(b, start_again):
    """One that the broker takes for its keeper, and that has nothing yet: it, and the keeper that is still there."""
    pid = b.broker_pid
    end(b.process.pid)
    b.process.wait()
    made = keeper_of(b)
    os.kill(pid, signal.SIGSTOP)
    second = start_again(b, wait=False)
    until(lambda: unread(b) == 1, "it does not call")
    os.kill(second.pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)
    until(lambda: "is our keeper now" in b.log(), b.log)
    return second, made


def test_one_that_dies_before_it_has_everything_costs_nothing(broker, start_again):
    """It is killed; the broker makes itself another keeper."""
    b = broker(section("web", free_address()))
    inode, pid = b.inode("web"), b.broker_pid
    second, made = stopped_as_soon_as_it_is_there(b, start_again)
    assert program_of(made), "the old keeper was ended before the new one had everything"
    second.process.kill()
    second.process.wait()
    until(lambda: program_of(made) is None, b.log)
    reap(made)
    until(lambda: b.pids()[1], b.log)
    until(lambda: f"socket:[{inode}]" in kept_by(b.pids()[1]), b.log)
    reap(made)
    end(pid)
    until(lambda: b.broker_pid != pid, b.log)
    reap(pid)
    assert b.inode("web") == inode


def test_who_found_the_broker_is_collected_though_its_end_was_told_first(broker, start_again):
    """Stopped meanwhile, the new keeper sees both at once."""
    b = broker(section("web", free_address()))
    pid = b.broker_pid
    end(b.process.pid)
    b.process.wait()
    made = keeper_of(b)
    os.kill(pid, signal.SIGSTOP)
    second = start_again(b, wait=False)
    until(lambda: unread(b) == 1, "it does not call")
    os.kill(second.pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)
    until(lambda: len(zombies(second.pid)) == 1, "who found the broker does not end")
    os.kill(second.pid, signal.SIGCONT)
    assert second.wait().ready, second.log()
    until(lambda: program_of(made) is None, b.log)
    reap(made)
    assert zombies(second.pid) == []


def test_the_broker_that_dies_before_the_new_one_has_everything_is_started_by_the_old_one(broker, start_again):
    b = broker(section("web", free_address()))
    inode, pid = b.inode("web"), b.broker_pid
    second, made = stopped_as_soon_as_it_is_there(b, start_again)
    end(pid)
    until(lambda: b.broker_pid != pid, b.log)
    os.kill(second.pid, signal.SIGCONT)
    assert second.status() == 1 and "start fdpassd again" in second.log()
    reap(pid)
    assert b.inode("web") == inode and b.pids()[1] == made
    third = start_again(b)
    assert third.ready, third.log()


def test_a_keeper_that_got_nothing_ends_when_another_broker_runs(broker):
    """As made by a broker that was killed at once, when somebody has started another one meanwhile."""
    b = broker(section("web", free_address()))
    with subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL) as made_it:
        keepers, brokers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pidfd = os.pidfd_open(made_it.pid)
        keeper = subprocess.Popen(
            [FDPASSD, "--config", b.config_path, "--log-target", "stderr"], stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, pass_fds=(keepers.fileno(), pidfd),
            env=clean_environment(FDPASS_KEEPER_LINK=keepers.fileno(), FDPASS_KEEPER_BROKER=pidfd))
        keepers.close()
        os.close(pidfd)
        made_it.kill()
    brokers.close()
    try:
        log = keeper.communicate(timeout=DEADLINE)[1]
        assert keeper.returncode == 4 and log.count("already running") == 1, log
    finally:
        keeper.kill()
    assert b.pids()[1] == b.process.pid and b.listener("web")


def test_another_configuration_or_no_keeper_of_its_own_is_refused(broker, start_again):
    b = broker(section("web", free_address()))
    end(b.process.pid)
    b.process.wait()
    keeper_of(b)
    other = os.path.join(b.folder, "other.conf")
    with open(b.config_path, encoding="ascii") as source, open(other, "w", encoding="ascii") as file:
        file.write(source.read())
    for second in (start_again(b, config=other), start_again(b, arguments=["--keeper=no"])):
        assert second.status() == 4 and "already running" in second.log()


@pytest.mark.root
def test_another_user_does_not_become_the_keeper(broker, start_again):
    """It may not even take the lock; the verb itself is for root and the broker's own user."""
    b = broker(section("web", free_address()))
    end(b.process.pid)
    b.process.wait()
    keeper_of(b)
    os.chmod(b.folder, 0o777)
    with b.client() as client:
        assert client.request("HELLO").ok
    second = start_again(b, user=65533)
    assert second.status() != 0 and not second.ready
    assert "our keeper" not in b.log()
