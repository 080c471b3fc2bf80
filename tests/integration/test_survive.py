"""
The broker survives its own death, and the keeper's: nothing is refused, lost, doubled or leaked.

FDPASS_TEST_KILLS sets how often they are killed alternately (40).
"""
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from testing.broker import FDPASSD, Broker, StartFailed, end_both, free_address, private_folder, program_of
from testing.load import Load
from testing.process import SERVER, end, fds_at_rest, memfd_of, open_fds, reap, resident, until

KILLS = int(os.environ.get("FDPASS_TEST_KILLS", "40"))
pytestmark = pytest.mark.usefixtures("subreaper")


def section(name, host, port, more=""):
    return f"[Socket {name}]\nListenStream={host}:{port}\n{more}"


def serve(b, processes, name="web"):
    process = b.spawn(name, "--", sys.executable, "-c", SERVER, stdout=subprocess.PIPE)
    processes.append(process)
    assert process.stdout.readline() == b"up\n"
    process.stdout.close()
    return process


def kill_one(b, pid, number=signal.SIGKILL):
    """Kill broker or keeper, and wait until both are there again and at rest."""
    end(pid, number)
    if pid != b.process.pid:
        reap(pid)
    else:
        b.process.wait()
    until(lambda: b.pids()[1] not in (None, pid), f"no keeper again:\n{b.log()}")


def remove_all(b):
    """The process that was started may be gone: end what is there now."""
    broker, keeper = b.pids()
    end_both(broker, keeper)
    reap(keeper)
    reap(broker)


def alternate(b, times):
    """Kill broker and keeper in turn; the keeper always has as many descriptors. The memory of both after each pair."""
    figures, usual = [], open_fds(b.pid)
    for n in range(times):
        kill_one(b, b.pids()[n % 2])
        if n % 2:
            broker, keeper = b.pids()
            until(lambda k=keeper: open_fds(k) == usual, f"{open_fds(keeper)} descriptors in the keeper, not {usual}")
            figures.append((resident(broker), resident(keeper)))
    return figures


def test_broker_and_keeper_killed_alternately_under_load(broker, processes):
    host, port = free_address()
    other, path = free_address(), None
    b = broker(section("web", host, port, "Backlog=4096\n") + section("api", *other))
    path = b.inode("web"), b.inode("api")
    keeper = open_fds(b.pid)
    server = serve(b, processes)
    until(lambda: open_fds(b.pid) == keeper + 1, "the keeper has the holder's pidfd")
    since = b.leases("web")[server.pid]["since_usec"]
    try:
        with Load((host, port)) as load:
            load.wait_served(20)
            figures = alternate(b, KILLS)
            load.wait_served(20)
        assert load.refused == 0 and load.cut == 0 and not load.others, load
        assert (b.inode("web"), b.inode("api")) == path
        assert list(b.leases("web")) == [server.pid]
        assert b.leases("web")[server.pid]["since_usec"] == since
        for which in (0, 1):
            sizes = [f[which] for f in figures]
            assert max(sizes[len(sizes) // 2:]) < min(sizes) + 1024, f"KiB resident: {sizes}"
    finally:
        remove_all(b)


def test_the_broker_has_as_many_descriptors_after_each_death(broker, processes):
    b = broker(section("web", *free_address()))
    serve(b, processes)
    counts = []
    for _ in range(5):
        kill_one(b, b.broker_pid)
        pid = b.broker_pid
        with b.client() as client:  # the sessions before it are closed when it is answered
            assert client.request("HELLO").ok
            counts = counts or [fds_at_rest(one) for one in (pid, b.pid)]

            def found(pid=pid):
                return [open_fds(one) for one in (pid, b.pid)]

            until(lambda: found() == counts, lambda: f"{found()} descriptors in broker and keeper, not {counts}")


def test_clients_that_call_while_the_broker_is_away_wait_and_are_answered(broker):
    """Stopped, so that calls lie in its queue, and killed in that state."""
    b = broker(section("web", *free_address()))
    inode = b.inode("web")
    pid = b.broker_pid
    os.kill(pid, signal.SIGSTOP)
    results = []

    def ask():
        results.append(b.fdpass("status", check=False).returncode)
        results.append(b.fdpass("exec", "web", "--", "true", check=False).returncode)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    raw = b.client()
    raw.send("HELLO")
    os.kill(pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert results == [0] * 8, (results, b.log())
    assert raw.receive().ok, "a call in the queue of the control socket is lost"
    raw.close()
    assert b.inode("web") == inode


def test_killed_in_the_middle_of_an_apply_nothing_is_lost(broker):
    """At many moments of it: what was there is there, and apply can be repeated."""
    many = "".join(section(f"n{i}", *free_address()) for i in range(40))
    b = broker(section("web", *free_address()))
    base = open(b.config_path, encoding="ascii").read()
    inode = b.inode("web")
    for n in range(12):
        pid = b.broker_pid
        b.write_config(base + (many if n % 2 == 0 else ""))
        with b.client() as client:
            if n % 2 == 0:
                client.send("APPLY")
            else:
                client.send("APPLY", **{"ALLOW-CLOSE": "1"})
            time.sleep(0.001 * n / 4)
            os.kill(pid, signal.SIGKILL)
        until(lambda p=pid: b.broker_pid != p, "it does not come back")
        assert b.inode("web") == inode
        b.fdpass("apply", "--allow-close")
        assert len(b.status()["listeners"]) == (41 if n % 2 == 0 else 1)
    assert "unclaimed" not in b.log()


def test_a_second_one_beside_a_living_one_and_beside_one_whose_keeper_was_killed(broker):
    b = broker(section("web", *free_address()))
    text = f"[Broker]\nControlSocket={b.control}\n" + section("api", *free_address())
    try:
        for _ in range(2):
            with pytest.raises(StartFailed) as failed:
                broker(text)
            assert failed.value.status == 4 and "already running" in failed.value.log
            b.process.kill()
            b.process.wait()
        assert b.listener("web")
    finally:
        remove_all(b)


def test_a_signal_to_either_ends_both(broker):
    for to in (1, 0):
        b = broker(section("web", *free_address()))
        pids = b.pids()
        os.kill(pids[to], signal.SIGTERM)
        assert b.process.wait(20) == 0
        reap(pids[0])
        assert [program_of(pid) for pid in pids] == [None, None]
        assert not os.path.exists(b.control)


def test_sigterm_to_the_keeper_and_sigkill_of_the_broker_at_once_is_an_end(broker):
    """Whichever comes first; also after the broker has said that it ends."""
    for wait in range(12):
        b = broker(section("web", *free_address()))
        pid = b.broker_pid
        for target, number in ((b.pid, signal.SIGTERM), (pid, signal.SIGKILL))[::-1 if wait % 3 == 0 else 1]:
            try:
                os.kill(target, number)
            except ProcessLookupError:
                pass  # it has ended already, by the one before
            time.sleep(0.0002 * (wait // 3))
        assert b.process.wait(20) == 0, b.log()
        reap(pid)


def test_sigterm_while_the_broker_is_started_again_ends_it_well(broker):
    for wait in range(6):
        b = broker(section("web", *free_address()))
        pid = b.broker_pid
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.002 * wait)
        os.kill(b.pid, signal.SIGTERM)
        assert b.process.wait(20) == 0, b.log()


def test_sighup_to_the_keeper_applies_and_is_not_forgotten_between_two_brokers(broker):
    b = broker(section("web", *free_address()))
    with open(b.config_path, "a", encoding="ascii") as file:
        file.write(section("api", *free_address()))
    b.reload()
    assert len(b.status()["listeners"]) == 2
    with open(b.config_path, "a", encoding="ascii") as file:
        file.write(section("new", *free_address()))
    os.kill(b.pid, signal.SIGSTOP)
    os.kill(b.broker_pid, signal.SIGKILL)
    os.kill(b.pid, signal.SIGHUP)
    os.kill(b.pid, signal.SIGCONT)
    until(lambda: len(b.status()["listeners"]) == 3, "the signal is lost")


@pytest.mark.parametrize("text", ["[Socket web]\nListenStream=nonsense\n", "", None])
def test_what_was_in_force_stays_in_force(broker, text):
    """The files were broken, emptied or removed before the crash."""
    address = free_address()
    b = broker(section("web", *address))
    inode, pid = b.inode("web"), b.broker_pid
    if text is None:
        os.unlink(b.config_path)
    else:
        b.write_config(text)
    kill_one(b, pid)
    assert b.inode("web") == inode
    b.write_config(section("web", *address) + section("api", *free_address()))
    b.fdpass("apply")
    assert b.inode("web") == inode and b.listener("api")


def test_a_clean_stop_and_start_reads_the_new_files(broker):
    b = broker(section("web", *free_address()))
    b.stop()
    os.unlink(os.path.join(b.folder, "notify.sock"))
    again = broker(section("api", *free_address()), folder=b.folder)
    assert [l["name"] for l in again.status()["listeners"]] == ["api"]


def test_both_killed_at_once_the_next_start_binds_anew(broker):
    address = free_address()
    b = broker(section("web", *address))
    b.kill()
    os.unlink(os.path.join(b.folder, "notify.sock"))
    again = broker(section("web", *address), folder=b.folder)
    assert again.listener("web")


def test_unix_sockets_keep_inode_and_path(broker):
    b = broker("")
    path = os.path.join(b.folder, "app.sock")
    b.write_config(f"[Socket app]\nListenStream={path}\nSocketMode=0600\n")
    b.fdpass("apply")
    inode, file = b.inode("app"), os.stat(path).st_ino
    kill_one(b, b.broker_pid)
    assert b.inode("app") == inode and os.stat(path).st_ino == file
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(path)
    # the guard of the path is at work again
    os.unlink(path)
    until(lambda: os.path.exists(path), "the path does not come back")
    assert b.inode("app") == inode




def test_as_pid_1_it_reaps_forwards_and_ends_cleanly(broker, processes):
    wrapper = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*wrapper, "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode:
        pytest.skip("this container may not make namespaces")
    b = broker(section("web", *free_address()), wrapper=wrapper)
    with open(f"/proc/{b.pid}/task/{b.pid}/children", encoding="ascii") as file:
        init = int(file.read())
    inside = ["nsenter", "-t", str(init), "-p", "-m"]
    assert b.broker_pid == 2
    # an orphan that ends is reaped
    subprocess.run([*inside, "sh", "-c", "(sleep 0.05 & exec true)"], stdin=subprocess.DEVNULL, check=True)

    def names():
        done = subprocess.run([*inside, "ps", "-eo", "stat,comm", "--no-headers"], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, check=True)
        return [line.split() for line in done.stdout.splitlines()]

    until(lambda: not any(s.startswith("Z") or c == "sleep" for s, c in names()), "an orphan is not reaped")
    # its broker dies, which is a child too
    subprocess.run([*inside, "kill", "-KILL", "2"], stdin=subprocess.DEVNULL, check=True)
    until(lambda: b.broker_pid != 2, "it does not come back")
    assert [c for _, c in names()].count("fdpassd") == 2
    b.write_config(open(b.config_path, encoding="ascii").read() + section("api", *free_address()))
    os.kill(init, signal.SIGHUP)
    until(lambda: len(b.status()["listeners"]) == 2, "SIGHUP is not forwarded")
    os.kill(init, signal.SIGTERM)
    assert b.process.wait(20) == 0, b.log()
    assert program_of(init) is None


def test_out_of_descriptors_the_keeper_says_so_and_keeps_what_it_can(broker):
    b = broker(section("web", *free_address()), nofile=40)
    subprocess.run(["prlimit", "--pid", str(b.pid), "--nofile=14:"], check=True, stdin=subprocess.DEVNULL)
    base = open(b.config_path, encoding="ascii").read()
    b.write_config(base + "".join(section(f"n{i}", *free_address()) for i in range(8)))
    b.fdpass("apply", check=False)
    inode = b.inode("web")
    assert "RLIMIT_NOFILE" in b.log()
    subprocess.run(["prlimit", "--pid", str(b.pid), "--nofile=40:"], check=True, stdin=subprocess.DEVNULL)
    kill_one(b, b.broker_pid)
    assert b.inode("web") == inode


def overwrite(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


DAMAGES = {
    "nonsense": lambda path: overwrite(path, 0, os.urandom(8192)),
    "no header": lambda path: overwrite(path, 0, bytes(200)),
    "another format": lambda path: overwrite(path, 16, b"\x67\x12\0\0"),
    "truncated": lambda path: os.truncate(path, 100),
    "empty": lambda path: os.truncate(path, 0),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_document_costs_leases_and_not_sockets(broker, processes, damage):
    address = free_address()
    b = broker(section("web", *address))
    path = os.path.join(b.folder, "app.sock")
    with open(b.config_path, "a", encoding="ascii") as file:
        file.write(f"[Socket app]\nListenStream={path}\n")
    b.fdpass("apply")
    keeper = open_fds(b.pid)
    serve(b, processes)
    until(lambda: open_fds(b.pid) == keeper + 1, "the keeper has the holder's pidfd")
    inodes = b.inode("web"), b.inode("app")
    control, file = os.stat(b.control).st_ino, os.stat(path).st_ino
    pid = b.broker_pid
    os.kill(pid, signal.SIGSTOP)  # it must not write into what is damaged
    DAMAGES[damage](memfd_of(b.pid, "fdpass-state"))
    kill_one(b, pid)
    assert (b.inode("web"), b.inode("app")) == inodes, b.log()
    assert (os.stat(b.control).st_ino, os.stat(path).st_ino) == (control, file)
    assert "the kept state document cannot be read" in b.log() and "have no record" in b.log()
    # the holder's pidfd is of no use without its leases; all else is kept once, under its new id
    until(lambda: open_fds(b.pid) == keeper, "the keeper has descriptors left over")
    with pytest.raises(StartFailed) as failed:
        broker(f"[Broker]\nControlSocket={b.control}\n")
    assert failed.value.status == 4, "the lock is not held any more"
    # and it is a memory again
    serve(b, processes)
    kill_one(b, b.broker_pid)
    assert (b.inode("web"), b.inode("app")) == inodes and len(b.leases("web")) == 1
    assert b.log().count("cannot be read") == 1


def test_a_change_that_was_torn_costs_itself_only(broker, processes):
    b = broker(section("web", *free_address()))
    inode = b.inode("web")
    serve(b, processes)
    pid = b.broker_pid
    os.kill(pid, signal.SIGSTOP)
    path = memfd_of(b.pid, "fdpass-state")
    with open(path, "rb") as file:
        content = file.read().rstrip(b"\0")
    overwrite(path, len(content) - 3, b"xyz")  # the last record, a lease
    kill_one(b, pid)
    assert b.inode("web") == inode and b.leases("web") == {}
    assert "was damaged" in b.log()


def test_what_is_kept_for_a_listener_and_is_not_its_socket_is_told_and_bound_anew(broker):
    """The record says another address than the descriptor has."""
    address = free_address()
    b = broker(section("web", *address))
    pid = b.broker_pid
    os.kill(pid, signal.SIGSTOP)
    path = memfd_of(b.pid, "fdpass-state")
    with open(path, "rb") as file:
        content = file.read()
    record = content.index(b"ADDRESS=")
    frame = content.rindex(b"l", 0, content.rindex(b"RECORD=socket", 0, record))
    begin = content.rindex(b"RECORD=socket", 0, record) - 32
    assert frame >= begin
    length = int.from_bytes(content[begin + 4:begin + 8], sys.byteorder)
    payload = bytearray(content[begin + 32:begin + 32 + length])
    at = payload.index(b":%d" % address[1]) + 1
    payload[at] = ord("1") if payload[at] != ord("1") else ord("2")
    checksum = 2166136261
    for byte in content[begin + 4:begin + 32] + bytes(payload):
        checksum = (checksum ^ byte) * 16777619 & 0xffffffff
    overwrite(path, begin, checksum.to_bytes(4, sys.byteorder) + content[begin + 4:begin + 32] + bytes(payload))
    keeper = open_fds(b.pid)
    kill_one(b, pid)
    assert "is not its socket: it has another address" in b.log()
    assert b.listener("web")["sockets"][0]["address"] == "%s:%d" % address
    until(lambda: open_fds(b.pid) == keeper, "the keeper has descriptors left over")


@pytest.mark.root
def test_without_a_process_left_the_keeper_keeps_and_tries_again():
    """RLIMIT_NPROC of an ordinary user, which does not bind root."""
    uid = 64000 + os.getpid() % 1000
    folder = private_folder()
    as_user = {"user": uid, "group": uid, "extra_groups": [], "stdin": subprocess.DEVNULL}
    try:
        os.chown(folder, uid, uid)
        shutil.copy(FDPASSD, folder)
        address = free_address()
        b = Broker(section("web", *address), folder=folder, user=uid, program=os.path.join(folder, "fdpassd"))
        try:
            with b.client() as client:
                before = client.request("STATUS").document()
            subprocess.run(["prlimit", "--pid", str(b.pid), "--nproc=1:"], check=True, **as_user)
            os.kill(before["broker"]["pid"], signal.SIGKILL)
            until(lambda: "cannot start the broker" in b.log(), "it does not say what is wrong")
            with socket.create_connection(address), b.client(timeout=20) as client:
                client.send("STATUS")
                subprocess.run(["prlimit", "--pid", str(b.pid), "--nproc=100:"], check=True, **as_user)
                after = client.receive().document()
            inodes = [document["listeners"][0]["sockets"][0]["inode"] for document in (before, after)]
            assert inodes[0] == inodes[1] and after["broker"]["pid"] != before["broker"]["pid"]
            b.stop()
        finally:
            b.remove()
    finally:
        shutil.rmtree(folder)
