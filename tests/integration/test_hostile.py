"""Peers that break the rules, by mistake or on purpose: they get an error or the door, others are served."""
import array
import os
import random
import resource
import select
import shutil
import socket
import time

import pytest

from testing.broker import children_of, free_address, private_folder


def web(more=""):
    return "[Socket web]\nListenStream=%s:%d\n" % free_address() + more


def assert_served(broker, within=15):
    """Somebody else gets an answer, on a busy machine, too; what would hold it up lasts for longer, or for ever."""
    begin = time.monotonic()
    with broker.client() as client:
        client.acquire("web").close()
    took = time.monotonic() - begin
    assert took < within, f"another client waited {took:.2f} s"


def broker_fds(broker):
    (pid,) = children_of(broker.pid)  # not by asking it, which costs a session
    return len(os.listdir(f"/proc/{pid}/fd"))


def send_unwanted(client, fds):
    """
    Descriptors that no verb takes: from Linux 6.16 on the broker has its kernel refuse them at the
    sender's, before that they arrive and must be got rid of. True when they arrived.
    """
    try:
        client.send("HELLO", fds=fds)
    except PermissionError:
        return False
    answer = client.receive()
    assert answer is None or answer.first.startswith("ERROR="), answer
    return True


BROKEN = {
    "no assignment": b"garbage",
    "empty key": b"=value",
    "small letters": b"verb=HELLO",
    "a NUL": b"VERB=HELLO\nX-A=\0",
    "two newlines at the end": b"VERB=HELLO\n\n",
    "an empty line": b"VERB=HELLO\n\nNAME=web",
    "a newline first": b"\nVERB=HELLO",
    "a key twice": b"VERB=ACQUIRE\nNAME=web\nNAME=api",
    "too many assignments": b"VERB=HELLO\n" + b"\n".join(b"X-%d=1" % i for i in range(64)),
    "a long key": b"VERB=HELLO\nX-" + b"A" * 63 + b"=1",
    "too large": b"VERB=HELLO\nX-A=" + b"x" * 16384,
}


@pytest.mark.parametrize("packet", BROKEN.values(), ids=BROKEN.keys())
def test_who_breaks_the_grammar_is_disconnected_and_the_log_says_so(broker, packet):
    b = broker(web())
    with b.client() as client:
        client.send_bytes(packet)
        try:
            assert client.receive() is None
        except ConnectionResetError:
            pass
    assert_served(b)
    assert str(os.getpid()) in b.log()


WRONG = {
    "an unknown verb": (b"VERB=FROBNICATE", "FROBNICATE"),
    "no verb": (b"NAME=web", ""),
    "the verb not first": (b"NAME=web\nVERB=ACQUIRE", ""),
    "an unknown key": (b"VERB=ACQUIRE\nNAME=web\nCOLOUR=red", "COLOUR"),
    "a missing key": (b"VERB=ACQUIRE", "NAME"),
    "an empty value": (b"VERB=ACQUIRE\nNAME=", ""),
    "a name that cannot be": (b"VERB=ACQUIRE\nNAME=a:b", ""),
    "a long serial": (b"VERB=HELLO\nSERIAL=" + b"1" * 65, "SERIAL"),
    "a long status": (b"VERB=NOTIFY\nSTATUS=" + b"x" * 256, "STATUS"),
    "nothing to notify": (b"VERB=NOTIFY", ""),
}


@pytest.mark.parametrize("packet, named", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_request_is_answered_and_the_conversation_goes_on(broker, packet, named):
    b = broker(web())
    with b.client() as client:
        client.send_bytes(packet)
        answer = client.receive()
        assert answer is not None and answer.first.startswith("ERROR=E") and named in answer["MESSAGE"], answer
        assert client.request("HELLO", SERIAL="still here")["SERIAL"] == "still here"


def test_keys_that_begin_with_x_are_ignored(broker):
    b = broker(web())
    with b.client() as client:
        assert client.request("HELLO", **{"X-COLOUR": "red"}).ok


def test_descriptors_where_none_belong_are_refused_and_closed(broker, free_fds):
    b = broker(web())
    with b.client() as client:
        assert client.request("HELLO").ok
        before = broker_fds(b)
        for count in (1, 100, 253):
            mine = [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]
            send_unwanted(client, mine)
            for fd in mine:
                os.close(fd)
        # closing them is left to a child, so it may take a moment
        deadline = time.monotonic() + 10
        while broker_fds(b) > before and time.monotonic() < deadline:
            client.request("HELLO")
        assert broker_fds(b) <= before


def test_a_descriptor_whose_close_blocks_does_not_block_the_broker(broker):
    """A TCP socket that lingers with unsent data, whose last copy is in the broker's queue."""
    b = broker(web())
    with socket.socket() as sink:
        sink.bind(("127.0.0.1", 0))
        sink.listen()
        sender = socket.create_connection(sink.getsockname())
        never_reads, _ = sink.accept()
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, array.array("i", [1, 60]).tobytes())
        sender.setblocking(False)
        try:
            while True:
                sender.send(b"x" * 65536)
        except BlockingIOError:
            pass
        client = b.client()
        if not send_unwanted(client, [sender.fileno()]):
            # then the last copy is ours, and it is us whom close() would block
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes(8))
        sender.close()
        client.close()
        assert_served(b)
        never_reads.close()


def test_a_listener_s_descriptors_cannot_be_hoarded_unread(broker):
    """Descriptors in flight count against the broker's user: a peer that does not read gets no more."""
    b = broker(web())
    with b.client(timeout=0.2) as hoarder:
        sent = 0
        try:
            for sent in range(5000):
                hoarder.send("ACQUIRE", NAME="web")
        except (TimeoutError, BrokenPipeError, ConnectionResetError, BlockingIOError):
            pass
        assert sent < 4999, "a session may queue without bound"
        assert_served(b)


def test_a_client_that_never_reads_holds_up_nobody(broker):
    b = broker(web())
    silent = []
    for _ in range(30):
        client = b.client(timeout=0.05)
        try:
            while True:
                client.send("STATUS")
        except (TimeoutError, BrokenPipeError, ConnectionResetError, BlockingIOError):
            pass
        silent.append(client)
    assert_served(b)
    for client in silent:
        client.close()
    assert_served(b)


def test_a_flood_of_connections_holds_up_nobody(broker):
    b = broker(web())
    for _ in range(2000):
        b.client().close()
    assert_served(b)


def test_random_bytes(broker):
    b = broker(web())
    dice = random.Random(20240607)
    valid = b"VERB=ACQUIRE\nNAME=web\nSERIAL=1"
    for round_number in range(300):
        packet = bytearray(valid if round_number % 2 else dice.randbytes(dice.randrange(1, 200)))
        for _ in range(dice.randrange(1, 4)):
            packet[dice.randrange(len(packet))] = dice.randrange(256)
        with b.client() as client:
            client.send_bytes(bytes(packet))
            try:
                answer = client.receive()
            except ConnectionResetError:
                continue
            if answer is not None:
                assert answer.first == "OK=1" or answer.first.startswith("ERROR=E")
                answer.close()
    assert_served(b)


def test_every_cut_of_a_valid_request(broker):
    b = broker(web())
    valid = b"VERB=ACQUIRE\nNAME=web"
    for end in range(1, len(valid)):
        with b.client() as client:
            client.send_bytes(valid[:end])
            try:
                answer = client.receive()
            except ConnectionResetError:
                continue
            assert answer is None or answer.first.startswith("ERROR="), (valid[:end], answer)
    assert_served(b)


def test_a_client_that_vanishes_between_request_and_answer(broker):
    b = broker(web())
    with b.client() as client:
        client.request("HELLO")
        before = broker_fds(b)
    for verb in ("ACQUIRE", "STATUS", "WATCH") * 50:
        client = b.client()
        client.send(verb, **({"NAME": "web"} if verb == "ACQUIRE" else {}))
        client.close()
    with b.client() as client:
        deadline = time.monotonic() + 10
        while broker_fds(b) > before + 1 and time.monotonic() < deadline:
            client.request("HELLO")
        # one more than before: the lease of this process, which acquired
        assert broker_fds(b) <= before + 1


@pytest.mark.root
def test_a_user_has_a_share_of_the_sessions_and_no_more(broker):
    """Another user opens as many sessions as it can; root is served on, and so is a third user."""
    import subprocess
    import sys
    b = broker(web("Access=65533 65532\n"))
    hog = subprocess.Popen(
        [sys.executable, "-c", """
import socket, sys, resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000), hard))
held = []
for _ in range(15000):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(10)
    try:
        s.connect(sys.argv[1])
        s.send(b"VERB=HELLO")
        if not s.recv(16384).startswith(b"OK=1"):
            break
    except OSError:
        break
    held.append(s)
print(len(held), flush=True)
sys.stdin.read()
""", b.control], stdin=-1, stdout=-1, user=65533, group=65533, extra_groups=[])
    try:
        held = int(hog.stdout.readline())
        assert 0 < held < 15000, "a user's sessions have no bound"
        assert_served(b)
        other = subprocess.run([sys.executable, "-c", """
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(10)
s.connect(sys.argv[1])
s.send(b"VERB=HELLO")
sys.exit(not s.recv(16384).startswith(b"OK=1"))
""", b.control], user=65532, group=65532, extra_groups=[], timeout=30, check=False)
        assert other.returncode == 0
    finally:
        hog.stdin.close()
        hog.stdout.close()
        hog.wait(10)


def test_a_long_status_is_written_in_pieces_and_others_are_served_meanwhile(broker):
    """Of one listener as of all."""
    folder = private_folder()
    try:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        count = min(4000, hard // 2)
        b = broker("[Socket many]\n" + "".join(f"ListenStream={folder}/{i}\n" for i in range(count)))
        for keys in {"NAME": "many"}, {}:
            with b.client() as asking, b.client() as other:
                assert asking.request("HELLO").ok and other.request("HELLO").ok  # both are accepted
                served, deadline = 0, time.monotonic() + 30
                while not served:  # it takes a few milliseconds, and we may not run just then
                    assert time.monotonic() < deadline, "nobody was ever served before it was whole"
                    asking.send("STATUS", **keys)
                    # The first may have been read before STATUS was, the second not.
                    assert other.request("HELLO").ok and other.request("HELLO").ok
                    served += not select.select([asking.socket], [], [], 0)[0]
                    assert len(asking.receive().document()["listeners"][0]["sockets"]) == count
        b.stop()  # else it puts back the paths that are removed now
    finally:
        shutil.rmtree(folder)
