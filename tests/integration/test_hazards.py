"""What one holder of a socket can do to all, and what the broker does about it."""
import fcntl
import os
import signal
import socket

import pytest

from testing.broker import free_address
from testing.process import until


def tcp(address, more=""):
    return "[Socket web]\nListenStream=%s:%d\n%s" % (*address, more)


def serves(client_family, address, listener):
    with socket.socket(client_family) as peer:
        peer.settimeout(5)
        peer.connect(address)
        listener.settimeout(5)
        accepted, _ = listener.accept()
        accepted.close()


def test_a_shut_down_tcp_listener_listens_again(broker):
    address = free_address()
    b = broker(tcp(address))
    inode = b.inode("web")
    with b.client() as client, client.acquire("web") as listener:
        for count in range(1, 4):
            listener.shutdown(socket.SHUT_RDWR)
            until(lambda n=count: b.listener("web")["sockets"][0]["repairs"] >= n, "it to be mended")
            serves(socket.AF_INET, address, listener)
    assert b.inode("web") == inode
    assert "web" in b.log()


def test_a_shut_down_unix_listener_is_bound_again(broker):
    b = broker("")
    path = os.path.join(b.folder, "app.sock")
    b.write_config(f"[Socket app]\nListenStream={path}\n")
    b.reload()
    inode = b.inode("app")
    with b.client() as client, b.client() as watcher:
        assert watcher.request("WATCH", NAME="app").ok
        with client.acquire("app") as listener:
            listener.shutdown(socket.SHUT_RDWR)
        event = watcher.receive()
        assert (event["EVENT"], event["NAME"]) == ("REPLACED", "app")
        assert b.inode("app") != inode
        with client.acquire("app") as listener:
            serves(socket.AF_UNIX, path, listener)


def test_an_unlinked_path_comes_back_with_the_same_socket(broker):
    b = broker("")
    path = os.path.join(b.folder, "app.sock")
    b.write_config(f"[Socket app]\nListenStream={path}\n")
    b.reload()
    inode = b.inode("app")
    with b.client() as client, client.acquire("app") as listener:
        for _ in range(3):
            os.unlink(path)
            until(lambda: os.path.exists(path), "the path to come back")
            serves(socket.AF_UNIX, path, listener)
        assert b.inode("app") == inode
        os.rename(path, path + ".moved")
        until(lambda: os.path.exists(path), "the renamed path to come back")
        serves(socket.AF_UNIX, path, listener)


def test_a_changed_backlog_is_set_right_at_the_next_lending(broker):
    address = free_address()
    b = broker(tcp(address, "Backlog=100\n"))
    with b.client() as client:
        with client.acquire("web") as listener:
            listener.listen(1)
            assert b.listener("web")["sockets"][0]["queue"]["limit"] == 1
        with client.acquire("web"):
            assert b.listener("web")["sockets"][0]["queue"]["limit"] == 100


@pytest.mark.parametrize("configured, flag", [("no", 0), ("yes", os.O_NONBLOCK)])
def test_o_nonblock_is_as_configured_when_nobody_holds_it(broker, configured, flag):
    b = broker(tcp(free_address(), f"NonBlocking={configured}\n"))

    def lend(change):
        with b.client() as client:
            fd = client.acquire("web").detach()
            seen = fcntl.fcntl(fd, fcntl.F_GETFL)
            if change:
                fcntl.fcntl(fd, fcntl.F_SETFL, seen ^ os.O_NONBLOCK)
            os.close(fd)
            return seen & os.O_NONBLOCK, client

    assert lend(change=True)[0] == flag
    # this process still has a lease, so the flag is its own affair
    assert lend(change=False)[0] == flag ^ os.O_NONBLOCK
    with b.client() as client:
        assert client.request("RELEASE", NAME="web").ok
    assert lend(change=False)[0] == flag


def test_options_set_by_a_holder_do_not_reach_the_next_one(broker):
    b = broker(tcp(free_address()))
    with b.client() as client:
        with client.acquire("web") as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, (5).to_bytes(8, "little") + bytes(8))
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
        assert client.request("RELEASE", NAME="web").ok
        with client.acquire("web") as listener:
            assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == bytes(16)
            assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) == 0


def test_ports_stay_bound_while_the_last_holder_dies(broker, processes):
    address = free_address()
    b = broker(tcp(address))
    for _ in range(5):
        holder = b.spawn("web", "--", "sh", "-c", "echo up; exec sleep 600", stdout=-1)
        processes.append(holder)
        assert holder.stdout.readline() == b"up\n"
        holder.stdout.close()
        holder.kill()
        holder.wait()
        socket.create_connection(address).close()


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_options_changed_before_a_crash_are_restored_after_it(broker, tmp_path, family):
    """The next broker knows what the socket had before anybody was lent it."""
    config = tcp(free_address()) if family == "tcp" else f"[Socket web]\nListenStream={tmp_path}/web.sock\n"
    b = broker(config)
    with b.client() as client, client.acquire("web") as listener:
        before = listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bytes([5]) + bytes(15))
        for _ in range(2):
            os.kill(b.broker_pid, signal.SIGKILL)
            b.wait_notify("READY=1")
        with b.client() as again:
            assert again.request("RELEASE", NAME="web").ok
        until(lambda: not listener.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
              "SO_KEEPALIVE of a holder to go after the crash")
        until(lambda: listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == before,
              "SO_RCVTIMEO of a holder to go after the crash")


def test_the_path_of_the_control_socket_is_put_back(broker):
    """Removed by mistake, it would leave a broker that nobody can talk to."""
    b = broker("[Socket web]\nListenStream=%s:%d\n" % free_address())
    inode = os.stat(b.control).st_ino
    os.unlink(b.control)
    until(lambda: os.path.exists(b.control), "the path to come back")
    assert os.stat(b.control).st_ino == inode
    with b.client() as client:
        assert client.request("HELLO").ok
