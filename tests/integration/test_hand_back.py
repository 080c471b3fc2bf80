"""
Keeper and broker die together, and a new fdpassd takes the listeners back from who holds them; from
nobody else, and nothing that is not a broker's.
"""
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from testing.broker import FDPASSD, Broker, StartFailed, free_address, private_folder
from testing.load import Load

ROUNDS = int(os.environ.get("HAND_BACK_ROUNDS", "20"))
STRANGER = 4242  # a user that nobody knows
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

#: A plain server of LISTEN_FDS. With WORKERS=N that many children of it serve; with BECOME=UID it
#: changes its user first.
SERVER = r"""
import os, signal, socket
listener = socket.socket(fileno=3)
listener.setblocking(True)
user = int(os.environ.get("BECOME", "0"))
if user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
children = []
for _ in range(int(os.environ.get("WORKERS", "0"))):
    pid = os.fork()
    if pid == 0:
        children = []
        break
    children.append(pid)
os.write(1, b"up\n")  # whole, also when several write at once
if children:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    signal.sigwait([signal.SIGTERM])
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    raise SystemExit
while True:
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nserved")
"""


@contextlib.contextmanager
def serve(broker, *names, **env):
    process = broker.spawn(*names, "--", sys.executable, "-c", SERVER, stdout=subprocess.PIPE, env=env)
    try:
        for _ in range(1 + int(env.get("WORKERS", 0))):
            assert process.stdout.readline() == b"up\n"
        yield process
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


class Home:
    """One folder, in which one fdpassd after the other runs."""

    def __init__(self):
        self.folder = private_folder()
        self.broker = None

    def start(self, config, **kwargs):
        self.broker = Broker(config, folder=self.folder, **kwargs)
        return self.broker

    def start_fails(self, config, **kwargs):
        with pytest.raises(StartFailed) as failed:
            self.start(config, **kwargs)
        os.unlink(os.path.join(self.folder, "notify.sock"))
        return failed.value.log

    def kill_together(self):
        assert all(self.broker.pids()), "there is no keeper"
        self.kill()

    def kill(self):
        self.broker.kill()
        self.clear()

    def clear(self):
        self.broker.notify.close()
        os.unlink(os.path.join(self.folder, "notify.sock"))

    def remove(self):
        if self.broker:
            self.broker.remove()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def home():
    """Ends well what runs in it at the end."""
    one = Home()
    yield one
    try:
        if one.broker and one.broker.process.poll() is None:
            one.broker.stop()
    finally:
        one.remove()


def tcp(more=""):
    host, port = free_address()
    return (host, port), f"[Socket web]\nListenStream={host}:{port}\n{more}"


def test_killed_together_under_load_nothing_is_refused(home):
    address, config = tcp()
    broker = home.start(config)
    inode = broker.inode("web")
    with serve(broker, "web") as server, Load(address) as load:
        load.wait_served(20)
        for _ in range(ROUNDS):
            home.kill_together()
            load.wait_served(5)  # it serves on, without a broker
            broker = home.start(config)
            assert broker.inode("web") == inode
            leases = broker.leases("web")
            assert [(pid, l["how"], l["uid"]) for pid, l in leases.items()] == \
                [(server.pid, "hand-back", os.geteuid())]
            assert f"(pid {server.pid}), which had kept it open" in broker.log()
            load.wait_served(5)
    assert (load.refused, load.cut, dict(load.others)) == (0, 0, {}), str(load)


def test_the_lease_is_one_as_any_other(home):
    address, config = tcp()
    broker = home.start(config)
    inode = broker.inode("web")
    with serve(broker, "web") as server:
        home.kill_together()
        broker = home.start(config)
        # a crash of the broker alone: the keeper knows the lease, and how it came
        os.kill(broker.broker_pid, signal.SIGKILL)
        broker.wait_notify("READY=1")
        assert broker.leases("web")[server.pid]["how"] == "hand-back"
        assert broker.inode("web") == inode
    deadline = time.monotonic() + 10
    while broker.leases("web"):
        assert time.monotonic() < deadline, "the lease does not end with its process"
    with socket.create_connection(address, 5):
        pass  # without the server the socket lives on: it is the broker's again


def test_of_a_prefork_server_the_parent_has_the_lease(home):
    _, config = tcp()
    broker = home.start(config)
    with serve(broker, "web", WORKERS=3) as server:
        home.kill_together()
        assert list(home.start(config).leases("web")) == [server.pid]


@pytest.mark.parametrize("who", ["keeper and broker", "broker"])
def test_flags_are_left_alone_under_a_living_holder(home, who):
    _, config = tcp("NonBlocking=no\n")
    broker = home.start(config)
    with broker.client() as client:
        held = client.acquire("web")  # this process is the holder
    with held:
        held.setblocking(False)
        if who == "broker":
            os.kill(broker.broker_pid, signal.SIGKILL)
            broker.wait_notify("READY=1")
        else:
            home.kill_together()
            broker = home.start(config)
        assert os.getpid() in broker.leases("web")
        assert not os.get_blocking(held.fileno())


def test_without_a_keeper_it_is_the_same(home):
    _, config = tcp()
    broker = home.start(config, arguments=["--keeper=no"])
    inode = broker.inode("web")
    with serve(broker, "web") as server:
        home.kill()
        broker = home.start(config, arguments=["--keeper=no"])
        assert broker.inode("web") == inode
        assert broker.leases("web")[server.pid]["how"] == "hand-back"


def listener_of_another_user(broker):
    """The command trusts only brokers of root or of its own user."""
    with broker.client() as client:
        return client.request("STATUS").document()["listeners"][0]


@pytest.mark.root
def test_a_user_s_broker_takes_back_from_the_user_s_programs(home):
    _, config = tcp()
    os.chown(home.folder, STRANGER, STRANGER)
    alone = {"user": STRANGER, "arguments": ["--keeper=no"]}
    broker = home.start(config, **alone)
    inode = listener_of_another_user(broker)["sockets"][0]["inode"]
    client = ("import sys; sys.path.insert(0, sys.argv[1]); from testing.client import Client\n"
              "held = Client(sys.argv[2]).acquire('web'); print('up', flush=True); sys.stdin.read()\n")
    with subprocess.Popen([sys.executable, "-B", "-c", client, TESTS, broker.control], user=STRANGER, group=STRANGER,
                          extra_groups=[], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"up\n"
        broker.process.kill()
        broker.process.wait(10)
        home.clear()
        web = listener_of_another_user(home.start(config, **alone))
        assert web["sockets"][0]["inode"] == inode
        assert [(lease["pid"], lease["uid"]) for lease in web["leases"]] == [(holder.pid, STRANGER)]
        holder.stdin.close()
        holder.wait(10)


def test_a_unix_path_is_taken_back_and_guarded(home):
    path = os.path.join(home.folder, "api.sock")
    config = f"[Socket api]\nListenStream={path}\n"
    broker = home.start(config)
    inode = broker.inode("api")
    with serve(broker, "api") as server, Load(path, threads=2) as load:
        load.wait_served(5)
        home.kill_together()
        broker = home.start(config)
        assert broker.inode("api") == inode
        assert server.pid in broker.leases("api")
        load.wait_served(5)
    assert load.refused == 0, str(load)
    os.unlink(path)
    deadline = time.monotonic() + 10
    while not os.path.exists(path):
        assert time.monotonic() < deadline, "the path does not come back"
    assert broker.inode("api") == inode


def test_many_listeners_are_taken_back_from_their_holders(home):
    host, port = free_address()
    path = os.path.join(home.folder, "api.sock")
    config = (f"[Socket web]\nListenStream={host}:{port}\nListenStream={path}\n"
              f"[Socket idle]\nListenStream={host}:{port + 1}\n")
    broker = home.start(config)
    before = [broker.inode("web", 0), broker.inode("web", 1)]
    with serve(broker, "web") as server:
        home.kill_together()
        broker = home.start(config)
        assert [broker.inode("web", 0), broker.inode("web", 1)] == before
        assert list(broker.leases("web")) == [server.pid]
        assert not broker.leases("idle")  # nobody had it: bound anew


def test_a_foreign_server_is_not_robbed(home):
    """Of the same user, at the same address, and even started by fdpass exec: but its own socket."""
    (host, port), config = tcp()
    with socket.socket() as foreign:
        foreign.bind((host, port))
        foreign.listen()
        log = home.start_fails(config)
        assert f"listener web: cannot bind {host}:{port}" in log
        assert f"(pid {os.getpid()}, uid {os.geteuid()}) listens on {host}:{port}" in log
        assert "taken back" not in log


def test_a_running_broker_takes_nothing(home):
    """A conflict that apply finds is for people to see; hand-back is for the start."""
    address, config = tcp()
    broker = home.start(config)
    with serve(broker, "web"):
        home.kill_together()
        broker = home.start("")
        broker.write_config(config)
        done = broker.fdpass("apply", check=False)
        assert done.returncode != 0
        assert f"cannot bind {address[0]}:{address[1]}" in done.stdout + done.stderr
        assert not broker.status()["listeners"]


def test_another_living_broker_is_not_robbed(home, broker):
    address, config = tcp()
    first = broker(config)
    with serve(first, "web"):
        log = home.start_fails(config)
        assert "another broker, fdpassd (pid " in log
        assert first.inode("web")


@pytest.mark.root
def test_from_who_may_not_hold_it_nothing_is_taken(home):
    address, config = tcp()
    broker = home.start(config)
    inode = broker.inode("web")
    with serve(broker, "web", BECOME=STRANGER) as server:
        home.kill_together()
        log = home.start_fails(config)
        assert f"(pid {server.pid}, uid {STRANGER}) holds it" in log
        assert "may not hold this listener: name its user in Access=" in log
        for rule in (STRANGER, f"@{STRANGER}"):
            broker = home.start(config + f"Access={rule}\n")
            assert broker.inode("web") == inode
            assert broker.leases("web")[server.pid]["uid"] == STRANGER
            home.kill_together()
        broker = home.start(config + f"Access={STRANGER}\n")


@pytest.mark.root
def test_what_a_permitted_user_has_bound_himself_is_not_taken(home):
    """Access= lets a user hold the listener, not plant one: the mark is the broker's user's alone."""
    (host, port), config = tcp(f"Access={STRANGER}\n")
    planter = ("import os, socket, sys\n"
               f"s = socket.socket(); s.bind(('{host}', {port})); s.listen(); os.fchmod(s.fileno(), 0o1777)\n"
               "print('up', flush=True); sys.stdin.read()\n")
    with subprocess.Popen([sys.executable, "-c", planter], user=STRANGER, group=STRANGER, extra_groups=[],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as planted:
        assert planted.stdout.readline() == b"up\n"
        log = home.start_fails(config)
        assert f"uid {STRANGER}) listens on {host}:{port}" in log
        planted.stdin.close()
        planted.wait(10)


def test_a_living_broker_of_another_name_is_not_robbed(home, broker, tmp_path):
    """As `fdpass upgrade PATH` leaves one."""
    renamed = shutil.copy(FDPASSD, tmp_path / "fdp-new")
    _, config = tcp()
    first = broker(config, program=str(renamed))
    with serve(first, "web"):
        assert "another broker" in home.start_fails(config)


@pytest.mark.root
def test_a_user_s_broker_takes_nothing_from_root_s(home, broker):
    """The user sees its own program that holds the listener, and not the broker whose it is."""
    _, config = tcp(f"Access={STRANGER}\n")
    first = broker(config)
    os.chown(home.folder, STRANGER, STRANGER)
    with serve(first, "web", BECOME=STRANGER):
        log = home.start_fails(config, user=STRANGER)
        assert "taken back" not in log and "in use" in log


@pytest.mark.root
def test_a_program_called_fdpassd_is_not_taken_for_a_broker(home, tmp_path):
    """Else whoever may hold a listener could keep a broker from coming back."""
    sleeper = shutil.copy("/bin/sleep", tmp_path / "fdpassd")
    os.chmod(tmp_path, 0o755)
    _, config = tcp(f"Access={STRANGER}\n")
    broker = home.start(config)
    inode = broker.inode("web")
    with broker.spawn("web", "--", "setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups",
                      str(sleeper), "600") as holder:
        deadline = time.monotonic() + 10
        while os.readlink(f"/proc/{holder.pid}/exe") != str(sleeper):
            assert time.monotonic() < deadline
        home.kill_together()
        assert home.start(config).inode("web") == inode
        holder.kill()
