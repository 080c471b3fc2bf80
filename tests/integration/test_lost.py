"""
The state document is lost, and the configuration files are broken as well: the broker comes up with what the kept
descriptors tell, and closes none of them.
"""
import os
import signal
import socket

import pytest

from testing.broker import DEADLINE, end_both, free_address
from testing.process import end, memfd_of, open_fds, until

BROKEN = "[Socket web\nnonsense\n"


def section(name, address):
    return f"[Socket {name}]\nListenStream={address[0]}:{address[1]}\n"


def spoil(b, *memfds):
    """The memfds become nonsense and the files too, and the broker is killed; back when the next one serves."""
    pid = b.broker_pid
    os.kill(pid, signal.SIGSTOP)
    for name in memfds:
        with open(memfd_of(b.pid, name), "r+b") as file:
            file.truncate(0)
            file.write(b"[nonsense\n" * 100)
    with open(b.config_path, encoding="ascii") as file:
        config = file.read()
    with open(b.config_path, "w", encoding="ascii") as file:
        file.write(BROKEN)
    kill(b, pid)
    return config


def kill(b, pid):
    end(pid)
    until(lambda: b.broker_pid not in (None, pid), b.log)


def repair(b, config):
    with open(b.config_path, "w", encoding="ascii") as file:
        file.write(config)


def test_what_was_in_force_is_found_by_its_descriptor(broker):
    address, path = free_address(), None
    b = broker(section("web", address))
    path = os.path.join(b.folder, "app.sock")
    with open(b.config_path, "a", encoding="ascii") as file:
        file.write(f"[Socket app]\nListenStream={path}\nSocketMode=0600\n")
    b.fdpass("apply")
    inodes = b.inode("web"), b.inode("app")
    keeper = open_fds(b.pid)
    config = spoil(b, "fdpass-state")
    assert (b.inode("web"), b.inode("app")) == inodes, b.log()
    assert "known by its descriptor" in b.log()
    until(lambda: open_fds(b.pid) == keeper, "the keeper has descriptors left over, or fewer")
    assert b.fdpass("apply", check=False).returncode == 3
    kill(b, b.broker_pid)
    assert (b.inode("web"), b.inode("app")) == inodes, b.log()
    repair(b, config)
    b.fdpass("apply")
    assert (b.inode("web"), b.inode("app")) == inodes


def test_without_any_configuration_all_sockets_stay_open_until_there_is_one(broker):
    """Over further deaths of broker and keeper, too; connections wait in them."""
    addresses = free_address(), free_address()
    b = broker(section("web", addresses[0]) + section("api", addresses[1]))
    inodes = b.inode("web"), b.inode("api")
    config = spoil(b, "fdpass-state", "fdpass-config")
    assert b.status()["listeners"] == []
    assert "neither the state document nor the configuration can be used" in b.log()
    for address in addresses:
        assert f"{address[0]}:{address[1]} stays open" in b.log()
    waiting = [socket.create_connection(address, timeout=DEADLINE) for address in addresses]
    try:
        kill(b, b.broker_pid)
        b.process.kill()
        b.process.wait()
        until(lambda: b.pids()[1], b.log)
        # what the broker's own keeper has been given is all
        keeper = b.pids()[1]
        until(lambda: kept_sockets(keeper) >= set(inodes), b.log)
        kill(b, b.broker_pid)
        repair(b, config)
        b.fdpass("apply")
        assert (b.inode("web"), b.inode("api")) == inodes, b.log()
        for inode, one in zip(inodes, waiting):
            one.settimeout(0)
            with pytest.raises(BlockingIOError):
                one.recv(1)
            assert inode
    finally:
        for one in waiting:
            one.close()
        end_both(*b.pids())


def kept_sockets(pid):
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(int(target[8:-1]))
    return found


def test_what_no_configuration_claims_is_closed_when_that_is_allowed_and_nowhere_kept(broker):
    address, other = free_address(), free_address()
    b = broker(section("web", address) + section("api", other))
    inode = b.inode("api")
    spoil(b, "fdpass-state", "fdpass-config")
    repair(b, f"[Broker]\nControlSocket={b.control}\n" + section("api", other))
    b.fdpass("apply")
    assert b.inode("api") == inode
    with socket.create_connection(address, timeout=DEADLINE):
        pass
    b.fdpass("apply", "--allow-close")
    until(lambda: refused(address), "a closed socket still listens: somebody has a copy")


def refused(address):
    try:
        with socket.create_connection(address, timeout=DEADLINE):
            return False
    except ConnectionRefusedError:
        return True
