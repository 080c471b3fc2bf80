"""Who gets a listener, what the record of it says, and when it ends."""
import os
import signal
import socket
import subprocess
import sys

import pytest

from testing.broker import free_address
from testing.client import Client
from testing.process import until

ACQUIRE_AND_WAIT = """
import os, sys
sys.path.insert(0, sys.argv[1])
from testing.client import Client
client = Client(sys.argv[2])
answer = client.request("ACQUIRE", NAME=sys.argv[3])
print(answer.first, answer.get("ERROR", ""), len(answer.fds), flush=True)
sys.stdin.read()
"""
TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def acquire_elsewhere(broker, name, **kwargs):
    """Another process that acquires, says what came of it, and stays until its stdin ends."""
    process = subprocess.Popen([sys.executable, "-B", "-c", ACQUIRE_AND_WAIT, TESTS, broker.control, name],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **kwargs)
    return process, process.stdout.readline().split()


def end(process):
    process.stdin.close()
    process.stdout.close()
    process.wait(10)


def wait_event(client, name):
    event = client.receive()
    assert event["EVENT"] == name, event
    return event


def wait_no_lease(broker, name, pid):
    """The broker learns of an end by a pidfd, when it turns to it: ask until then."""
    until(lambda: pid not in broker.leases(name), f"the lease of {pid} to end with it")


def web(host, port, more=""):
    return f"[Socket web]\nListenStream={host}:{port}\n{more}"


def test_an_acquired_listener_accepts_connections(broker):
    host, port = free_address()
    b = broker(web(host, port))
    with b.client() as client, client.acquire("web") as listener:
        with socket.create_connection((host, port)) as peer:
            accepted, _ = listener.accept()
            with accepted:
                accepted.sendall(b"served")
            assert peer.recv(16) == b"served"


def test_connections_wait_while_nobody_serves_and_come_in_order(broker):
    host, port = free_address()
    b = broker(web(host, port))
    waiting = []
    for number in range(20):
        peer = socket.create_connection((host, port))
        peer.sendall(b"%d\n" % number)
        waiting.append(peer)
    assert b.listener("web")["sockets"][0]["queue"]["length"] == 20
    with b.client() as client, client.acquire("web") as listener:
        for number in range(20):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.recv(16) == b"%d\n" % number
    for peer in waiting:
        peer.close()


def test_a_listener_with_several_addresses_comes_whole_and_in_order(broker):
    first, second = free_address(), free_address()
    b = broker(f"[Socket web]\nListenStream={first[0]}:{first[1]}\nListenStream={second[0]}:{second[1]}\n")
    with b.client() as client:
        answer = client.request("ACQUIRE", NAME="web")
        assert answer.ok and answer["FDS"] == "2"
        names = []
        for fd in answer.fds:
            with socket.socket(fileno=fd) as s:
                names.append(s.getsockname())
        assert names == [first, second]


def test_a_unix_listener_has_the_configured_mode(broker):
    b = broker("")
    path = os.path.join(b.folder, "deep", "app.sock")
    b.write_config(f"[Socket app]\nListenStream={path}\nSocketMode=0640\nDirectoryMode=0750\n")
    b.reload()
    assert os.stat(path).st_mode & 0o7777 == 0o640
    assert os.stat(os.path.dirname(path)).st_mode & 0o7777 == 0o750
    with b.client() as client, client.acquire("app") as listener:
        assert listener.getsockname() == path


def test_a_lease_tells_the_process_and_what_it_says_of_itself(broker):
    b = broker(web(*free_address()))
    with b.client() as client, client.acquire("web"):
        lease = b.leases("web")[os.getpid()]
        assert (lease["uid"], lease["gid"], lease["how"], lease["ready"]) == (os.geteuid(), os.getegid(), "acquire", False)
        assert client.request("NOTIFY", READY=1, STATUS="warm and serving").ok
        lease = b.leases("web")[os.getpid()]
        assert lease["ready"] is True and lease["status"] == "warm and serving"


def test_acquiring_again_is_the_same_lease(broker):
    b = broker(web(*free_address()))
    with b.client() as one, b.client() as two, one.acquire("web"):
        since = b.leases("web")[os.getpid()]["since_usec"]
        two.acquire("web").close()
        assert len(b.listener("web")["leases"]) == 1
        assert b.leases("web")[os.getpid()]["since_usec"] == since


def test_a_lease_outlives_the_connection_and_ends_by_release(broker):
    b = broker(web(*free_address()))
    with b.client() as client:
        client.acquire("web").close()
    assert os.getpid() in b.leases("web")
    with b.client() as client:
        assert client.request("RELEASE", NAME="web").ok
        assert client.request("RELEASE", NAME="web")["ERROR"] == "ENOENT"
    assert b.leases("web") == {}


def test_a_lease_ends_with_its_process(broker):
    b = broker(web(*free_address()))
    process, answer = acquire_elsewhere(b, "web")
    assert answer[0] == "OK=1" and process.pid in b.leases("web")
    process.send_signal(signal.SIGKILL)
    end(process)
    wait_no_lease(b, "web", process.pid)


def test_an_unknown_listener_is_an_answer_with_the_name_in_it(broker):
    b = broker(web(*free_address()))
    with b.client() as client:
        answer = client.request("ACQUIRE", NAME="wbe", SERIAL="7")
        assert answer["ERROR"] == "ENOENT" and "wbe" in answer["MESSAGE"] and answer["SERIAL"] == "7"
        assert client.request("HELLO").ok


@pytest.mark.root
class TestWhoMay:
    """Other users, so only root can play them."""

    UID = 65533

    def as_user(self, broker, name, uid=UID, gids=()):
        process, answer = acquire_elsewhere(broker, name, user=uid, group=uid, extra_groups=list(gids))
        end(process)
        return answer

    def start(self, broker, more=""):
        b = broker(web(*free_address(), more))
        os.chmod(b.control, 0o666)
        return b

    def test_without_access_a_listener_does_not_exist_for_others(self, broker):
        b = self.start(broker)
        assert self.as_user(b, "web")[1] == "ENOENT"
        assert b.leases("web") == {}

    def test_access_names_a_user(self, broker):
        b = self.start(broker, f"Access={self.UID}\n")
        assert self.as_user(b, "web")[0] == "OK=1"
        assert self.as_user(b, "web", uid=self.UID - 1)[1] == "ENOENT"

    def test_access_names_a_group_of_the_process(self, broker):
        b = self.start(broker, "Access=@65531\n")
        assert self.as_user(b, "web")[1] == "ENOENT"
        assert self.as_user(b, "web", gids=[65531])[0] == "OK=1"

    def test_an_operator_sees_a_listener_and_does_not_get_it(self, broker):
        b = self.start(broker, f"Operators={self.UID}\n")
        assert self.as_user(b, "web")[1] == "EACCES"

    def test_status_shows_what_one_may_see(self, broker):
        host, port = free_address()
        b = self.start(broker, f"Access={self.UID}\n[Socket secret]\nListenStream={host}:{port}\n")
        done = b.fdpass("status", "--json", user=self.UID, group=self.UID, extra_groups=[])
        assert '"web"' in done.stdout and "secret" not in done.stdout

    def test_only_operators_apply(self, broker):
        b = self.start(broker, f"Access={self.UID}\n")
        done = b.fdpass("apply", check=False, user=self.UID, group=self.UID, extra_groups=[])
        assert done.returncode != 0 and "Operators=" in done.stdout + done.stderr

    def test_a_peer_of_a_foreign_pid_namespace_is_known_by_its_pidfd_or_refused(self, broker):
        b = self.start(broker)
        done = subprocess.run(
            ["unshare", "--pid", "--fork", "--", sys.executable, "-B", "-c", ACQUIRE_AND_WAIT, TESTS, b.control, "web"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
        assert done.stdout.startswith(("OK=1", "ERROR=")), done
        assert 0 not in b.leases("web") or b.leases("web")[0]["pid"] == 0
