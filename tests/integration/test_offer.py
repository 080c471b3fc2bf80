"""
Keeper and broker are lost together, and the new broker lives where it sees none of the holders:
they hand their listeners back themselves.
"""
import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from testing.broker import DEADLINE, Broker, StartFailed, free_address, private_folder
from testing.client import Client
from testing.load import Load

pytestmark = pytest.mark.root
SERVER = os.path.join(os.environ.get("BUILD", "build/plain"), "tests", "faults", "watching-server")
APART = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
ROUNDS = int(os.environ.get("OFFER_ROUNDS", "5"))


class Home:
    """One folder, in which one broker after the other runs, each in a pid namespace of its own."""

    def __init__(self):
        if subprocess.run([*APART, "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode:
            pytest.skip("this container may not make namespaces")
        self.folder = private_folder()
        self.broker = None

    def start(self, config, **kwargs):
        self.broker = Broker(config, folder=self.folder, wrapper=APART, **kwargs)
        return self.broker

    def inits(self):
        with open(f"/proc/{self.broker.pid}/task/{self.broker.pid}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]

    def kill(self):
        """The first process of a namespace takes all others with it: nothing is left."""
        fds = [os.pidfd_open(pid) for pid in self.inits()]
        try:
            for fd in fds:
                signal.pidfd_send_signal(fd, signal.SIGKILL)
                assert select.select([fd], [], [], DEADLINE)[0]
        finally:
            for fd in fds:
                os.close(fd)
        self.broker.process.wait(DEADLINE)
        self.clear()

    def clear(self):
        self.broker.notify.close()
        os.unlink(os.path.join(self.folder, "notify.sock"))


@pytest.fixture
def home():
    one = Home()
    yield one
    if one.broker and one.broker.process.poll() is None:
        one.kill()
    subprocess.run(["rm", "-r", one.folder], check=True)


@contextlib.contextmanager
def serve(broker):
    process = subprocess.Popen([SERVER], env=broker.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"up\n"
        yield process
    finally:
        process.stdin.close()
        status = process.wait(DEADLINE)
        process.stdout.close()
    assert status == 0


def web(seconds, more=""):
    host, port = free_address()
    return (host, port), f"[Broker]\nOfferWaitSec={seconds}\n[Socket web]\nListenStream={host}:{port}\n{more}"


def test_killed_together_under_load_nothing_is_refused(home):
    address, config = web(60)
    broker = home.start(config)
    inode = broker.inode("web")
    with serve(broker) as server, Load(address) as load:
        load.wait_served(20)
        for _ in range(ROUNDS):
            home.kill()
            load.wait_served(5)  # it serves on, without a broker
            broker = home.start(config)
            assert broker.inode("web") == inode, broker.log()
            assert "listener web: was handed back by pid 0 of uid 0" in broker.log()
            assert server.stdout.readline() == b"RECONNECTED 0\n"
            leases = broker.listener("web")["leases"]
            assert [(l["pid"], l["uid"], l["how"]) for l in leases] == [(0, 0, "hand-back")]
            load.wait_served(5)
    assert (load.refused, load.cut, dict(load.others)) == (0, 0, {}), str(load)


def test_the_other_listeners_are_there_as_well(home):
    address, config = web(60)
    host, port = free_address()
    path = os.path.join(home.folder, "api.sock")
    config += f"[Socket api]\nListenStream={path}\n[Socket rpc]\nListenStream={host}:{port}\n"
    broker = home.start(config)
    with serve(broker):
        home.kill()
        broker = home.start(config)
        assert len(broker.status()["listeners"]) == 3
        assert [len(broker.listener(name)["leases"]) for name in ("web", "api", "rpc")] == [1, 0, 0]
        with socket.create_connection((host, port), 5):
            pass
    with socket.create_connection(address, 5):
        pass  # the holder is gone, and the socket is the broker's


def test_without_an_offer_the_start_fails_as_ever(home):
    (host, port), config = web(1)
    with socket.socket() as foreign:
        foreign.bind((host, port))
        foreign.listen()
        with pytest.raises(StartFailed) as failed:
            home.start(config)
        assert failed.value.status == 1
        assert "waiting 1 seconds for programs that hold them" in failed.value.log
        assert f"listener web: cannot bind {host}:{port}" in failed.value.log


def test_by_default_nobody_waits(home):
    (host, port), config = web(0)
    with socket.socket() as foreign:
        foreign.bind((host, port))
        foreign.listen()
        with pytest.raises(StartFailed) as failed:
            home.start(config)
        assert "waiting" not in failed.value.log


def test_an_address_that_becomes_free_ends_the_wait(home):
    (host, port), config = web(60)
    with socket.socket() as foreign:
        foreign.bind((host, port))
        foreign.listen()
        pid = os.fork()
        if pid == 0:  # the socket is closed once the broker's log says that it waits
            deadline = signal.alarm(DEADLINE)
            del deadline
            while True:
                with contextlib.suppress(OSError), open(os.path.join(home.folder, "log"), encoding="utf-8") as log:
                    if "waiting 60 seconds" in log.read():
                        os._exit(0)
        foreign.close()
    broker = home.start(config)
    os.waitpid(pid, 0)
    assert broker.inode("web")


def test_a_signal_ends_the_wait(home):
    (host, port), config = web(600)
    with socket.socket() as foreign:
        foreign.bind((host, port))
        foreign.listen()
        pid = os.fork()
        if pid == 0:
            signal.alarm(DEADLINE)
            while True:
                with contextlib.suppress(OSError, ValueError):
                    with open(os.path.join(home.folder, "log"), encoding="utf-8") as log:
                        if "waiting 600 seconds" not in log.read():
                            continue
                    with open(os.path.join(home.folder, "starter"), encoding="ascii") as file:
                        os.kill(int(file.read()), signal.SIGTERM)
                    os._exit(0)
        starter = ["sh", "-c", f'echo $$ > {home.folder}/starter; exec "$@"', "sh"]
        with pytest.raises(StartFailed) as failed:
            Broker(config, folder=home.folder, wrapper=starter)
        os.waitpid(pid, 0)
        assert failed.value.status == 0, failed.value.log
        assert "ending by SIGTERM" in failed.value.log


@contextlib.contextmanager
def waiting(broker_of, config):
    """A broker whose start waits: its session, once that is told OFFER=1, and what the start comes to."""
    outcome = []

    def run():
        try:
            outcome.append(broker_of(config))
        except StartFailed as failed:
            outcome.append(failed)

    thread = threading.Thread(target=run)
    thread.start()
    yield outcome
    thread.join(DEADLINE)
    assert not thread.is_alive()


def connect(path):
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            client = Client(path)
            if client.request("HELLO").get("OFFER") == "1":
                return client
            client.close()
        except OSError:
            pass
        assert time.monotonic() < deadline, "no broker waits for offers"
        time.sleep(0.01)


def test_the_socket_of_a_broker_that_lives_is_refused(broker):
    address, config = web(2)
    one = broker(config)
    folder = private_folder()
    with one.client() as client, client.acquire("web") as listener:
        with waiting(lambda text: Broker(text, folder=folder), config) as outcome:
            with connect(os.path.join(folder, "broker.sock")) as other:
                answer = other.request("OFFER", [listener.fileno()], NAME="web")
                assert answer.first == "ERROR=EBUSY", answer
                assert any(f"(pid {pid})" in answer["MESSAGE"] for pid in one.pids()), answer
    assert isinstance(outcome[0], StartFailed) and outcome[0].status == 1
    assert one.listener("web")["sockets"][0]["address"] == "%s:%d" % address
    subprocess.run(["rm", "-r", folder], check=True)


def test_a_signal_in_one_turn_with_an_offer_ends_the_wait(home):
    _, config = web(600)
    broker = home.start(config)
    taken, more = free_address(), "[Socket more]\nListenStream=%s:%d\n"
    with broker.client() as client, client.acquire("web") as listener, socket.socket() as foreign:
        home.kill()
        foreign.bind(taken)
        foreign.listen()
        with waiting(home.start, config + more % taken) as outcome:
            with connect(broker.control) as other:
                pid, _, _ = struct.unpack("3i", other.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
                os.kill(pid, signal.SIGSTOP)
                other.send("OFFER", [listener.fileno()], NAME="web")
                os.kill(pid, signal.SIGTERM)
                os.kill(pid, signal.SIGCONT)
    assert isinstance(outcome[0], StartFailed) and outcome[0].status == 0, outcome
    assert "ending by SIGTERM" in outcome[0].log
