"""The fd store for programs: what one process leaves with the broker another one takes, whatever dies."""
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from testing.broker import DEADLINE, free_address

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
STRANGER = 61234


def memfd(data, seals=SEALS):
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def store(client, name, fds, data=b"", hello=True):
    """The answer to STORE; `fds` stay open."""
    if hello:
        assert client.request("HELLO").get("STORE") == "1"
    if not data:
        return client.request("STORE", fds, NAME=name)
    last = memfd(data)
    try:
        return client.request("STORE", [*fds, last], NAME=name, SIZE=len(data))
    finally:
        os.close(last)


def take(client, name):
    """Descriptors and data, acknowledged; None when there is nothing."""
    answer = client.request("TAKE", NAME=name)
    if not answer.ok:
        assert answer.first == "ERROR=ENOENT", answer
        return None
    assert int(answer["FDS"]) == len(answer.fds)
    data = b""
    if "SIZE" in answer:
        fd = answer.fds.pop()
        data = os.pread(fd, int(answer["SIZE"]) + 1, 0)
        os.close(fd)
    assert client.request("TAKEN", NAME=name, ACK=answer["ACK"]).ok
    return answer.fds, data


def stored(client):
    answer = client.request("STORED")
    assert answer.ok, answer
    return {(one["uid"], one["name"]): one for one in answer.document()["stored"]}


def pipe(free_fds):
    ends = os.pipe()
    free_fds.extend(ends)
    return ends


def is_same_pipe(write_end, taken):
    os.write(write_end, b"through")
    return os.read(taken, 7) == b"through"


def as_user(broker, uid, code):
    """Run lines of Python as another user, with `client` connected to the broker; what they print."""
    # SO_PEERCRED is of the moment of connect(2), so the user is changed before it
    program = f"import os, sys\nsys.path.insert(0, {os.path.join(ROOT, 'tests')!r})\n" \
              f"from testing.client import Client\nos.setgroups([]); os.setgid({uid}); os.setuid({uid})\n" \
              f"client = Client({broker.control!r})\n"
    done = subprocess.run([sys.executable, "-B", "-c", program + code], stdout=subprocess.PIPE, text=True,
                          timeout=DEADLINE, check=True)
    return done.stdout


def kill_broker(held):
    """The broker, not its keeper; the keeper starts another one."""
    pid = held.status()["broker"]["pid"]
    assert pid != held.pid, "there is no keeper"
    os.kill(pid, signal.SIGKILL)
    return pid


@pytest.fixture
def held(broker):
    host, port = free_address()
    return broker(f"[Broker]\nStoreAccess={STRANGER}\nStoredPerUserMax=4\nStoredBytesPerUserMax=1000\n"
                  f"[Socket web]\nListenStream={host}:{port}\n")


def test_what_was_stored_is_taken_once(held, free_fds):
    read_end, write_end = pipe(free_fds)
    with held.client() as client:
        assert store(client, "shop", [read_end], b"state\n\0\xff").ok
    with held.client() as client:
        assert stored(client)[os.geteuid(), "shop"]["descriptors"] == 2
        fds, data = take(client, "shop")
        free_fds.extend(fds)
        assert data == b"state\n\0\xff" and is_same_pipe(write_end, fds[0])
        assert take(client, "shop") is None and not stored(client)


def test_until_it_is_acknowledged_it_stays(held, free_fds):
    read_end, write_end = pipe(free_fds)
    with held.client() as client:
        assert store(client, "shop", [read_end]).ok
        first = client.request("TAKE", NAME="shop")
        first.close()
    with held.client() as client:  # the receiver before it died
        second = client.request("TAKE", NAME="shop")
        free_fds.extend(second.fds)
        assert second["ACK"] == first["ACK"] and is_same_pipe(write_end, second.fds[0])
        for _ in range(2):  # and the answer to the first was lost
            assert client.request("TAKEN", NAME="shop", ACK=second["ACK"]).ok
        assert not stored(client)


def test_the_same_name_again_replaces_and_a_late_acknowledgement_does_not_hit_the_new(held, free_fds):
    old, new = pipe(free_fds), pipe(free_fds)
    with held.client() as client:
        assert store(client, "shop", [old[0]]).ok
        late = client.request("TAKE", NAME="shop")
        late.close()
        assert store(client, "shop", [new[0]]).ok
        assert client.request("TAKEN", NAME="shop", ACK=late["ACK"]).ok
        fds, _ = take(client, "shop")
        free_fds.extend(fds)
        assert is_same_pipe(new[1], fds[0])


def wait_for_hang_up(read_end):
    """Until no writer is left; not for luck but for the event."""
    import select
    poller = select.poll()
    poller.register(read_end, 0)
    assert poller.poll(DEADLINE * 1000), "somebody still has the other end"


@pytest.mark.parametrize("how", ["drop", "replace"])
def test_what_is_dropped_is_closed_by_broker_and_keeper(held, free_fds, how):
    read_end, write_end = os.pipe()
    other, _ = pipe(free_fds)
    free_fds.append(read_end)
    with held.client() as client:
        assert store(client, "shop", [write_end]).ok
        os.close(write_end)
        if how == "drop":
            assert client.request("DROP", NAME="shop").ok
            assert client.request("DROP", NAME="shop").first == "ERROR=ENOENT"
        else:
            assert store(client, "shop", [other]).ok
        wait_for_hang_up(read_end)


def test_a_killed_broker_has_everything_again(held, free_fds):
    ends = [pipe(free_fds) for _ in range(100)]
    with held.client() as client:
        assert store(client, "shop", [r for r, _ in ends], b"a" * 65536).ok
        before = stored(client)
    kill_broker(held)
    with held.client() as client:  # waits in the backlog
        assert stored(client) == before
        fds, data = take(client, "shop")
        free_fds.extend(fds)
        assert data == b"a" * 65536 and all(is_same_pipe(w, fd) for (_, w), fd in zip(ends, fds))
    kill_broker(held)
    with held.client() as client:
        assert not stored(client)


def test_an_upgraded_broker_has_everything_too(held, free_fds):
    read_end, write_end = pipe(free_fds)
    with held.client() as client:
        assert store(client, "shop", [read_end], b"data").ok
    held.fdpass("upgrade")
    with held.client() as client:
        fds, data = take(client, "shop")
        free_fds.extend(fds)
        assert data == b"data" and is_same_pipe(write_end, fds[0])


def test_a_broker_that_dies_between_take_and_acknowledgement(held, free_fds):
    read_end, write_end = pipe(free_fds)
    with held.client() as client:
        assert store(client, "shop", [read_end]).ok
        first = client.request("TAKE", NAME="shop")
        free_fds.extend(first.fds)
        kill_broker(held)
    with held.client() as client:
        assert client.request("TAKEN", NAME="shop", ACK=first["ACK"]).ok
        assert not stored(client)
    assert is_same_pipe(write_end, first.fds[0])


@pytest.mark.root
def test_another_user_has_names_of_its_own_and_a_quota(held, free_fds):
    read_end, _ = pipe(free_fds)
    with held.client() as client:
        assert store(client, "shop", [read_end]).ok
        out = as_user(held, STRANGER, """
import array, json
def say(answer): print(answer.first)
r, w = os.pipe()
say(client.request("TAKE", NAME="shop"))
say(client.request("DROP", NAME="shop"))
say(client.request("DROP", NAME="shop", UID=0))
assert client.request("HELLO")["STORE"] == "1"
say(client.request("STORE", [r, w, r, w], NAME="shop"))
say(client.request("STORE", [r], NAME="other"))
say(client.request("STORE", [r, w], NAME="shop"))
print(len(client.request("STORED").document()["stored"]))
""").split()
        assert out == ["ERROR=ENOENT", "ERROR=ENOENT", "ERROR=EACCES", "OK=1", "ERROR=EDQUOT", "OK=1", "1"]
        assert set(stored(client)) == {(0, "shop"), (STRANGER, "shop")}
        assert client.request("DROP", NAME="shop", UID=STRANGER).ok
        assert set(stored(client)) == {(0, "shop")}


@pytest.mark.root
def test_who_has_no_right_cannot_even_send_a_descriptor(held):
    out = as_user(held, STRANGER + 1, """
assert "STORE" not in client.request("HELLO")
try:
    answer = client.request("STORE", [0], NAME="shop")
    print(answer.first)  # before Linux 6.16
except PermissionError:
    print("refused")
""").strip()
    assert out in ("refused", "ERROR=EINVAL")


def test_what_leads_back_to_the_broker_or_is_of_no_use_is_refused(held, free_fds):
    import select
    read_end, _ = pipe(free_fds)
    with held.client() as client, held.client() as other, select.epoll() as epoll:
        assert client.request("HELLO").ok
        for fd in (other.socket.fileno(), epoll.fileno()):
            assert store(client, "shop", [read_end, fd]).first == "ERROR=EINVAL"
        soft, short = memfd(b"data", seals=0), memfd(b"data")
        free_fds.extend((soft, short))
        for fd, size in ((soft, 4), (short, 5), (short, 0), (read_end, 4), (short, 65537)):
            assert client.request("STORE", [fd], NAME="shop", SIZE=size).first == "ERROR=EINVAL", size
        assert client.request("STORE", NAME="shop").first == "ERROR=EINVAL"
        assert client.request("STATUS", [read_end]).first == "ERROR=EINVAL"
        assert store(client, "shop", [short] * 252).ok
        assert store(client, "shop", [short] * 251, b"data").ok
        assert len(stored(client)) == 1


def test_descriptors_that_were_refused_are_closed(held):
    read_end, write_end = os.pipe()
    with held.client() as client:
        assert client.request("HELLO").ok
        assert client.request("STATUS", [write_end]).first == "ERROR=EINVAL"
        os.close(write_end)
        wait_for_hang_up(read_end)
    os.close(read_end)


def test_a_session_that_ends_with_a_descriptor_unread_leaves_none(held):
    read_end, write_end = os.pipe()
    pid = held.status()["broker"]["pid"]
    with held.client() as client:
        assert client.request("HELLO").ok
        os.kill(pid, signal.SIGSTOP)  # or it might hang up before the second packet
        try:
            client.send_bytes(b"no assignment")  # the session is ended for this
            client.send_bytes(b"VERB=STORE\nNAME=shop", [write_end])
        finally:
            os.kill(pid, signal.SIGCONT)
    os.close(write_end)
    wait_for_hang_up(read_end)
    os.close(read_end)


# ---- the command and the library ----------------------------------------------------------------


def test_the_command_lists_and_drops(held, free_fds):
    read_end, _ = pipe(free_fds)
    assert "Nothing is stored" in held.fdpass("store", "list").stdout
    with held.client() as client:
        assert store(client, "shop", [read_end], b"12345").ok
    document = json.loads(held.fdpass("store", "list", "--json").stdout)
    assert [(e["name"], e["descriptors"], e["bytes"]) for e in document["stored"]] == [("shop", 2, 5)]
    assert held.fdpass("store", "list").stdout.split("\n")[1].split()[:1] == ["shop"]
    assert held.fdpass("store", "drop", "shop", f"--user={os.geteuid() + 1}", check=False).returncode == 6
    held.fdpass("store", "drop", "shop", f"--user={os.geteuid()}")
    assert held.fdpass("store", "drop", "shop", check=False).returncode == 6
    for wrong in (["store"], ["store", "drop"], ["store", "list", "x"], ["store", "list", "--user=0"]):
        assert held.fdpass(*wrong, check=False).returncode == 2


SERVERS = {
    "c": [os.path.join(os.environ["BUILD"], "examples/keepalive"), "web"],
    "python": [sys.executable, "-B", os.path.join(ROOT, "examples/keepalive/server.py"), "web"],
}


def start(held, server, processes):
    process = subprocess.Popen(SERVERS[server], env=held.environment(), stdin=subprocess.DEVNULL,
                               start_new_session=True)
    processes.append(process)
    return process


@pytest.mark.parametrize("server", SERVERS)
def test_open_connections_go_to_the_next_process_with_their_state(broker, processes, server):
    host, port = free_address()
    held = broker(f"[Socket web]\nListenStream={host}:{port}\n")
    current = start(held, server, processes)
    clients = [socket.create_connection((host, port), timeout=DEADLINE) for _ in range(300)]
    files = [client.makefile("r") for client in clients]

    def ask_all(count, pid):
        for client in clients:
            client.sendall(b"line\nhal")  # the half is answered after the next restart
        for file in files:
            assert file.readline() == f"{count} by {pid}\n"

    ask_all(1, current.pid)
    for count in range(2, 6):
        current.terminate()
        if count == 3:  # what was stored, and is taken by nobody yet, outlives the broker
            assert current.wait(DEADLINE) == 0
            kill_broker(held)
        elif count == 4:  # while it is being stored
            kill_broker(held)
        assert current.wait(DEADLINE) == 0
        current = start(held, server, processes)
        ask_all(count, current.pid)
    for file, client in zip(files, clients):
        file.close()
        client.close()
    current.terminate()
    assert current.wait(DEADLINE) == 0


# ---- who takes ------------------------------------------------------------------------------------


def test_of_two_that_take_at_once_the_second_is_refused_until_the_first_has_acknowledged(held, free_fds):
    read_end, _ = pipe(free_fds)
    with held.client() as first, held.client() as second:
        assert store(first, "shop", [read_end]).ok
        one = first.request("TAKE", NAME="shop")
        refused = second.request("TAKE", NAME="shop")
        assert refused.first == "ERROR=EBUSY" and str(os.getpid()) in refused["MESSAGE"]
        again = first.request("TAKE", NAME="shop")  # who lost the answer asks again
        assert again["ACK"] == one["ACK"]
        free_fds.extend(one.fds + again.fds)
        assert first.request("TAKEN", NAME="shop", ACK=one["ACK"]).ok
        assert second.request("TAKE", NAME="shop").first == "ERROR=ENOENT"


def test_one_that_ends_before_it_has_acknowledged_leaves_it_to_the_next(held, free_fds):
    read_end, write_end = pipe(free_fds)
    with held.client() as second:
        with held.client() as first:
            assert store(first, "shop", [read_end]).ok
            first.request("TAKE", NAME="shop").close()
            assert second.request("TAKE", NAME="shop").first == "ERROR=EBUSY"
        assert second.request("HELLO").ok  # the end of the other session is heard by now
        fds, _ = take(second, "shop")
        free_fds.extend(fds)
        assert is_same_pipe(write_end, fds[0])


def test_what_is_stored_anew_while_it_is_being_taken_is_for_anyone(held, free_fds):
    old, new = pipe(free_fds), pipe(free_fds)
    with held.client() as first, held.client() as second:
        assert store(first, "shop", [old[0]]).ok
        first.request("TAKE", NAME="shop").close()
        assert store(second, "shop", [new[0]]).ok
        fds, _ = take(second, "shop")
        free_fds.extend(fds)
        assert is_same_pipe(new[1], fds[0])
        assert first.request("HELLO").ok
