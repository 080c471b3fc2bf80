"""What programs stored, and listeners that only a holder still has, under a real systemd."""
import os
import re
import socket
import subprocess
import sys

import pytest

from testing.broker import free_address
from testing.client import Client
from testing.process import until

from test_fd_store import CONTROL, inodes, kill, leases, serve, start, status, stored, web


def connect():
    return Client(CONTROL)


def store(client, name, fds):
    assert client.request("HELLO").get("STORE") == "1"
    return client.request("STORE", fds, NAME=name)


def pipes(count):
    return [os.pipe() for _ in range(count)]


def close(ends):
    for pair in ends:
        for fd in pair:
            os.close(fd)


def passes(write_end, read_end):
    os.write(write_end, b"through")
    return os.read(read_end, 7) == b"through"


def take(client, name):
    answer = client.request("TAKE", NAME=name)
    assert answer.ok, answer
    assert client.request("TAKEN", NAME=name, ACK=answer["ACK"]).ok
    return answer.fds


def test_what_was_stored_outlives_broker_and_restart(system):
    before = start(system, free_address())
    ends = pipes(20)
    with connect() as client:
        assert store(client, "shop", [read_end for read_end, _ in ends]).ok
    count = stored(system)
    for again in (kill, kill, lambda s: s.systemctl("restart", "fdpassd.service")):
        again(system)
        assert inodes(system) == before and stored(system) == count
    with connect() as client:
        fds = take(client, "shop")
        assert all(passes(write_end, fd) for (_, write_end), fd in zip(ends, fds))
        for fd in fds:
            os.close(fd)
        assert client.request("TAKE", NAME="shop").first == "ERROR=ENOENT"
    until(lambda: stored(system) == count - 1, "systemd still has what was taken")
    close(ends)


def test_a_descriptor_that_is_stored_twice_is_there_twice(system):
    """systemd keeps one file description once, whatever it is called."""
    start(system, free_address())
    (read_end, write_end), = pipes(1)
    with connect() as client, client.acquire("web") as listener:
        assert store(client, "one", [read_end, read_end]).ok
        assert store(client, "two", [read_end, listener.fileno()]).ok
        inode = os.fstat(listener.fileno()).st_ino
    kill(system)
    with connect() as client:
        one, two = take(client, "one"), take(client, "two")
    assert all(passes(write_end, fd) for fd in (*one, two[0]))
    assert os.fstat(two[1]).st_ino == inode == inodes(system)["web"]
    for fd in (*one, *two, read_end, write_end):
        os.close(fd)
    kill(system)
    assert inodes(system)["web"] == inode


def test_a_full_fd_store_is_an_error_with_the_name_of_the_setting(system):
    system.unit("fdpassd.service.d/few.conf", "[Service]\nFileDescriptorStoreMax=12\n")
    before = start(system, free_address())
    ends, kept = pipes(12), {}
    with connect() as client:
        for number, pair in enumerate(ends):
            answer = store(client, f"shop{number}", [pair[0], pair[0]])
            if not answer.ok:
                break
            kept[f"shop{number}"] = pair
        assert answer.first == "ERROR=EDQUOT" and "FileDescriptorStoreMax=" in answer["MESSAGE"], answer
        assert len(kept) > 2 and stored(system) <= 12
        assert client.request("TAKE", NAME=f"shop{number}").first == "ERROR=ENOENT"
        assert store(client, "shop0", [ends[-1][0]]).first == "ERROR=EDQUOT"  # and what it had there is there
        until(lambda: "raise FileDescriptorStoreMax=" in system.journal(), "the journal does not tell")
        for name in ("shop1", "shop2"):
            assert client.request("DROP", NAME=name).ok
        kept["shop1"] = ends[-1]
        assert store(client, "shop1", [ends[-1][0]]).ok, "there is room again"
        del kept["shop2"]
    assert "has room again" in system.journal()
    kill(system)
    assert inodes(system) == before
    with connect() as client:
        for name, pair in kept.items():
            for fd in take(client, name):
                assert passes(pair[1], fd)
                os.close(fd)
    close(ends)


def stop_all(system):
    """The fd store is emptied; only the holder has the socket."""
    system.systemctl("stop", "fdpassd.service")
    assert stored(system) == 0


@pytest.mark.parametrize("user", [0, 65533])
def test_what_only_a_holder_has_is_taken_back(system, processes, user):
    """pidfd_getfd(2) in the sandbox of the unit."""
    address = free_address()
    before = start(system, address)
    if user:
        system.configure(web(address) + f"Access={user}\n")
        system.systemctl("reload", "fdpassd.service")
        until(lambda: "applied" in system.journal(), "no reload")
        process = subprocess.Popen([sys.executable, "-B", "-c", HOLD, CONTROL, *sys.path], user=user, group=user,
                                   extra_groups=[], stdout=subprocess.PIPE, start_new_session=True)
        processes.append(process)
        assert process.stdout.readline() == b"up\n"
        process.stdout.close()
    else:
        process = serve(system, processes)
    for verb in ("stop", "stop", "kill"):
        if verb == "stop":
            stop_all(system)
        else:
            system.systemctl("kill", "--kill-whom=main", "-s", "KILL", "fdpassd.service")
        with socket.create_connection(address):
            pass
        if verb == "stop":
            system.systemctl("start", "fdpassd.service")
        until(lambda: system.show("fdpassd.service", "ActiveState") == "active", "it does not come back")
        assert inodes(system) == before, system.journal()
        assert leases(system) == [process.pid]
    lease = status(system)["listeners"][0]["leases"][0]
    assert lease["how"] == "hand-back" and lease["uid"] == user


HOLD = """
import sys, time
sys.path[:0] = sys.argv[2:]
from testing.client import Client
from testing.process import until
with Client(sys.argv[1]) as client, client.acquire("web"):
    print("up", flush=True)
    time.sleep(3600)
"""


def version(system):
    return int(re.search(r"\d+", system.run("systemctl", "--version").stdout)[0])


def test_with_preserve_even_stop_and_start_keep_everything(system):
    if version(system) < 254:
        pytest.skip(f"FileDescriptorStorePreserve= needs systemd 254, this is {version(system)}")
    system.unit("fdpassd.service.d/preserve.conf", "[Service]\nFileDescriptorStorePreserve=yes\n")
    before = start(system, free_address())
    (read_end, write_end), = pipes(1)
    with connect() as client:
        assert store(client, "shop", [read_end]).ok
    system.systemctl("stop", "fdpassd.service")
    assert stored(system) > 0
    system.systemctl("start", "fdpassd.service")
    assert inodes(system) == before
    with connect() as client:
        fd, = take(client, "shop")
    assert passes(write_end, fd)
    for one in (fd, read_end, write_end):
        os.close(one)


def test_the_unit_says_how_what_is_kept_survives_a_stop(system):
    """On a systemd that does not know the setting a line with it would be a warning at each load."""
    text = system.run("systemctl", "cat", "fdpassd.service").stdout
    assert re.search(r"^# systemd 254 and later: .*FileDescriptorStorePreserve=yes", text, re.M)
    assert not re.search(r"^FileDescriptorStorePreserve", text, re.M)
