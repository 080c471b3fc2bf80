"""The broker's program is replaced under load: nothing is closed, and what cannot take over does not."""
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from testing.broker import FDPASSD, free_address
from testing.load import Load
from testing.process import SERVER, fds_at_rest, until
from testing.ways import wait_no_zombies

BAD_PROGRAM = os.path.join(os.environ.get("BUILD", "build/plain"), "tests", "faults", "bad-program")
OTHER_VERSION = b"0.1.z"


def version_of(path):
    return subprocess.run([path, "--version"], check=True, capture_output=True, text=True).stdout.split()[1]


def other_version(folder, version=OTHER_VERSION, name="fdpassd-next"):
    """The same program with another version: as many bytes, so that nothing in it moves."""
    with open(FDPASSD, "rb") as file:
        program = file.read()
    now = version_of(FDPASSD).encode()
    assert len(now) == len(version), "choose another OTHER_VERSION"
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        file.write(program.replace(now, version))
    os.chmod(path, 0o755)
    assert version_of(path) == version.decode()
    return path


def bad_program(folder, name):
    return shutil.copy(BAD_PROGRAM, os.path.join(folder, name))


def web(address):
    return f"[Socket web]\nListenStream={address[0]}:{address[1]}\n"


@pytest.fixture
def served(broker, processes):
    """A broker with a server on its listener; and the server's pid."""
    address = free_address()
    b = broker(web(address))
    server = b.spawn("web", "--", sys.executable, "-c", SERVER)
    processes.append(server)
    with Load(address, threads=1) as load:
        load.wait_served(1)
    return b, address, server.pid


def test_there_and_back_again_under_load(served):
    b, address, server = served
    now = version_of(FDPASSD)
    following = other_version(b.folder)
    pid, keeper, inode = *b.pids(), b.inode("web")
    with b.client() as before:
        assert before.request("HELLO")["VERSION"] == now
        with Load(address) as load:
            for path, version in [(following, OTHER_VERSION.decode()), (FDPASSD, now)] * 5:
                load.wait_served(50)
                done = b.fdpass("upgrade", path)
                assert version in done.stdout and str(pid) in done.stdout, done
                assert b.status()["broker"]["version"] == version
                assert both(b) == (pid, keeper)
                assert b.inode("web") == inode
                assert set(b.leases("web")) == {server}
            load.wait_served(50)
        assert load.refused == load.cut == 0 and not load.others, str(load)
        # Sessions end with the program that had them.
        assert select.select([before.socket], [], [], 10)[0]
    wait_no_zombies(pid)


def test_what_was_upgraded_to_is_what_a_crash_starts(served):
    b, _, server = served
    following = other_version(b.folder)
    inode = b.inode("web")
    b.fdpass("upgrade", following)
    os.unlink(following)
    pid = b.broker_pid
    os.kill(pid, signal.SIGKILL)
    b.wait_notify("READY=1")
    b.wait_notify("READY=1")
    broker = b.status()["broker"]
    assert broker["pid"] != pid and broker["version"] == OTHER_VERSION.decode()
    assert b.inode("web") == inode and set(b.leases("web")) == {server}


def both(b):
    """The keeper follows the broker after the command has its answer."""
    deadline = time.monotonic() + 20
    while not all(b.pids()):
        assert time.monotonic() < deadline, "the keeper did not become the broker's program\n" + b.log()
        time.sleep(0.005)
    return b.pids()


def test_descriptors_and_processes_do_not_grow(served):
    b, _, _ = served
    following = other_version(b.folder)
    b.fdpass("upgrade", following)
    counted = [fds_at_rest(pid) for pid in both(b)]
    for path in [FDPASSD, following] * 5:
        b.fdpass("upgrade", path)
    b.status()
    assert [fds_at_rest(pid) for pid in both(b)] == counted


def test_by_default_the_path_from_which_it_was_started(broker, monkeypatch):
    b = broker(web(free_address()))
    following = other_version(b.folder)
    b.fdpass("upgrade", following)
    os.rename(other_version(b.folder, b"0.1.y", "newer"), following)
    done = b.fdpass("upgrade", "--json")
    said = json.loads(done.stdout)
    assert (said["ok"], said["from"], said["to"]) == (True, OTHER_VERSION.decode(), "0.1.y")


@pytest.mark.parametrize("path, reason", [
    ("/bin/true", "no fdpassd"),
    ("/bin/false", "status 1"),
    ("/bin/ls", "check-upgrade"),  # what it says about the option that it does not know
    ("/etc/passwd", "cannot be executed"),
    ("/nonexistent", "No such file"),
    ("/", "cannot be executed"),
])
def test_what_cannot_take_over_is_refused_with_the_reason(served, path, reason):
    b, _, server = served
    before = b.status()["broker"]
    done = b.fdpass("upgrade", path, check=False)
    assert done.returncode == 1 and reason in done.stderr and path in done.stderr, done
    after = b.status()["broker"]
    assert (after["pid"], after["since_usec"]) == (before["pid"], before["since_usec"])
    assert set(b.leases("web")) == {server}


@pytest.mark.parametrize("how", ["fails", "killed", "ends-well", "hangs"])
def test_the_old_one_is_started_again_when_the_new_one_dies(served, how):
    b, address, server = served
    pid, keeper = b.pids()
    inode = b.inode("web")
    with Load(address) as load:
        load.wait_served(20)
        done = b.fdpass("upgrade", bad_program(b.folder, f"fdpassd-{how}"), check=False)
        load.wait_served(20)
    assert done.returncode == 1 and "9.9.9 died" in done.stderr, done
    assert load.refused == load.cut == 0 and not load.others, str(load)
    assert how != "hangs" or "SIGALRM" in b.log()
    now = b.pids()
    assert now[0] != pid and now[1] == keeper
    assert b.status()["broker"]["version"] == version_of(FDPASSD)
    assert b.inode("web") == inode and set(b.leases("web")) == {server}
    # And it can be upgraded still.
    b.fdpass("upgrade", other_version(b.folder))


def test_one_that_hangs_is_ended_also_where_sigalrm_was_ignored_and_blocked(broker):
    """As whoever started fdpassd left it: an exec passes that on."""
    b = broker(web(free_address()), wrapper=["env", "--ignore-signal=ALRM", "--block-signal=ALRM"])
    inode, pid = b.inode("web"), b.broker_pid
    done = b.fdpass("upgrade", bad_program(b.folder, "fdpassd-hangs"), check=False)
    assert done.returncode == 1 and "SIGALRM" in b.log(), done
    assert b.broker_pid != pid and b.inode("web") == inode


def test_a_new_one_that_cannot_start_with_what_is_kept_takes_nothing_along(served):
    """It passes the trial and then does not recognise what is kept, and so finds the lock taken."""
    b, address, server = served
    with open(FDPASSD, "rb") as file:
        program = file.read()
    assert b"\0RECORD\0" in program
    path = os.path.join(b.folder, "forgetful")
    with open(path, "wb") as file:
        file.write(program.replace(b"\0RECORD\0", b"\0RECORX\0"))  # a sanitizer does not merge equal strings
    os.chmod(path, 0o755)
    pid, inode = b.broker_pid, b.inode("web")
    with Load(address) as load:
        load.wait_served(20)
        done = b.fdpass("upgrade", path, check=False)
        load.wait_served(20)
    assert done.returncode == 1 and "died before it was ready" in done.stderr, done
    assert load.refused == load.cut == 0 and not load.others, str(load)
    assert b.broker_pid != pid and b.inode("web") == inode and set(b.leases("web")) == {server}


def test_a_keeper_that_the_broker_made_is_upgraded_too(served):
    b, _, server = served
    following = other_version(b.folder)
    broker, first = b.pids()
    inode = b.inode("web")
    os.kill(first, signal.SIGKILL)
    b.process.wait()
    until(lambda: b.pids()[1] not in (None, first), "no second keeper")
    keeper = b.pids()[1]
    ended = [os.pidfd_open(broker), os.pidfd_open(keeper)]
    try:
        b.fdpass("upgrade", following)
        until(lambda: b.pids() == (broker, keeper), "the keeper is not upgraded")  # its program is the broker's
        os.kill(broker, signal.SIGKILL)
        assert select.select(ended[:1], [], [], 30)[0]
        now, still = b.pids()
        assert now != broker and still == keeper
        assert b.status()["broker"]["version"] == OTHER_VERSION.decode()
        assert b.inode("web") == inode and set(b.leases("web")) == {server}
    finally:
        signal.pidfd_send_signal(ended[1], signal.SIGTERM)
        assert select.select(ended[1:], [], [], 30)[0], "the keeper does not end"
        for fd in ended:
            os.close(fd)


class ServiceManager(threading.Thread):
    """Receives what goes to the fd store as systemd does, and forgets it: a barrier is answered by its end."""

    def __init__(self, notify):
        super().__init__(daemon=True)
        self.notify = notify
        self.lines = []
        self.end, self.ended = os.pipe()

    def run(self):
        while self.notify in select.select([self.notify, self.end], [], [])[0]:  # what has come is read before the end
            text, fds, _, _ = socket.recv_fds(self.notify, 4096, 4)
            self.lines += text.decode().split("\n")
            for fd in fds:
                os.close(fd)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        os.close(self.ended)
        self.join()
        os.close(self.end)


def test_under_a_service_manager_there_is_no_keeper_and_it_works_the_same(broker, processes):
    address = free_address()
    as_systemd = ["/bin/sh", "-c", 'SYSTEMD_EXEC_PID=$$ exec "$@"', "sh"]
    b = broker(web(address), wrapper=as_systemd, env={"WATCHDOG_USEC": 3600 * 1000000})
    following = other_version(b.folder)
    with ServiceManager(b.notify) as manager:
        server = b.spawn("web", "--", sys.executable, "-c", SERVER)
        processes.append(server)
        inode = b.inode("web")
        with Load(address) as load:
            for path in [following, FDPASSD] * 3:
                load.wait_served(20)
                b.fdpass("upgrade", path)
                assert b.broker_pid == b.process.pid and b.inode("web") == inode
                assert set(b.leases("web")) == {server.pid}
            load.wait_served(20)
        assert load.refused == load.cut == 0 and not load.others, str(load)
    assert [line for line in manager.lines if line in ("RELOADING=1", "READY=1")] == ["RELOADING=1", "READY=1"] * 6
    assert manager.lines.count("WATCHDOG=1") == 6  # each fed it once at its start


def test_without_a_store_there_is_no_upgrade(broker):
    b = broker(web(free_address()), arguments=["--keeper", "no"])
    done = b.fdpass("upgrade", check=False)
    assert done.returncode == 1 and "--keeper=no" in done.stderr, done


def past_state(path):
    """tests/upgrade/dump.py has the format."""
    fd = os.memfd_create("past")
    with open(path, encoding="ascii") as file:
        for line in file:
            at, *data = line.split()
            if data and at != "#":
                os.pwrite(fd, bytes.fromhex(data[0]), int(at, 16))
            elif at != "#":
                os.ftruncate(fd, int(at, 16))
    return fd


@pytest.mark.skipif(sys.byteorder != "little", reason="the documents that there are come from such machines")
@pytest.mark.parametrize("damage, status, said", [
    (None, 0, "VERSION="),
    ((16, b"\x63"), 1, "its format version is another"),
    ((0, b"X"), 1, "cannot be read"),
])
def test_the_trial_reads_the_state_of_past_versions(free_fds, damage, status, said):
    folder = os.path.join(os.path.dirname(os.path.dirname(__file__)), "upgrade")
    state = past_state(os.path.join(folder, "state-0.1.0.hex"))
    handover = os.memfd_create("list")
    free_fds += [state, handover]
    if damage:
        os.pwrite(state, damage[1], damage[0])
    os.write(handover, f"{state} state\n".encode())
    done = subprocess.run([FDPASSD, "--check-upgrade"], pass_fds=(state, handover), check=False, text=True,
                          capture_output=True, env={"FDPASS_HANDOVER": str(handover)})
    assert done.returncode == status and said in done.stdout + done.stderr, done


def test_the_trial_without_a_broker_says_whom_it_is_for():
    done = subprocess.run([FDPASSD, "--check-upgrade"], check=False, capture_output=True, text=True)
    assert done.returncode == 1 and "fdpass upgrade" in done.stderr, done


def test_sigterm_in_the_middle_is_obeyed(served):
    b, _, _ = served
    following = other_version(b.folder)
    with b.client() as client:
        client.send("UPGRADE", PATH=following)
        assert client.receive().ok
    b.stop()


def test_another_user_may_not(broker):
    b = broker(web(free_address()))
    if os.geteuid() != 0:
        pytest.skip("needs root")
    script = ("import sys; sys.path.insert(0, sys.argv[1]); from testing.client import Client;"
              "print(Client(sys.argv[2]).request('UPGRADE', PATH='/bin/true')['ERROR'])")
    done = subprocess.run([sys.executable, "-c", script, os.path.dirname(os.path.dirname(__file__)), b.control],
                          user=65533, group=65533, extra_groups=[], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "EACCES", done
