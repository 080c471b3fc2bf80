"""An idle broker does not wake, whoever is connected; nor does its keeper."""
import resource
import subprocess
import time

from testing.broker import free_address
from testing.process import until

SECONDS = 3


def switches(pids):
    """Of broker and keeper together."""
    count = 0
    for pid in pids:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            lines = dict(line.split(":\t", 1) for line in file if ":\t" in line)
        count += int(lines["voluntary_ctxt_switches"])
    return count


def quiet(pids):
    """Let what is under way end: until one second passed without a switch."""
    for _ in range(20):
        before = switches(pids)
        time.sleep(1)
        if switches(pids) == before:
            return
    raise AssertionError("the broker never comes to rest")


def assert_idle(pids):
    assert None not in pids
    quiet(pids)
    before = switches(pids)
    time.sleep(SECONDS)
    assert switches(pids) == before, f"{switches(pids) - before} wake-ups in {SECONDS} s"


def test_no_wake_ups_with_thousands_of_idle_sessions(broker):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sessions = []
    try:
        b = broker("[Socket web]\nListenStream=%s:%d\n" % free_address())
        for _ in range(3000):
            sessions.append(b.client())
        # the last is served, so all were accepted; one in ten has said something
        for session in sessions[::10]:
            assert session.request("HELLO").ok
        assert sessions[-1].request("WATCH").ok
        assert b.status()["broker"]["sessions"] >= 3000
        assert_idle(b.pids())
        assert sessions[1500].request("ACQUIRE", NAME="web").ok
    finally:
        for session in sessions:
            session.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_connection_that_waits_at_a_listener_does_not_wake_the_broker(broker):
    import socket
    host, port = free_address()
    b = broker(f"[Socket web]\nListenStream={host}:{port}\n")
    pids = b.pids()
    quiet(pids)
    before = switches(pids)
    waiting = [socket.create_connection((host, port)) for _ in range(50)]
    for peer in waiting:
        peer.sendall(b"x")
    time.sleep(1)
    assert switches(pids) == before
    for peer in waiting:
        peer.close()


def test_no_system_calls_when_idle(broker, tmp_path):
    """The same from strace's side, which also sees a wake-up that ends at once."""
    b = broker("[Socket web]\nListenStream=%s:%d\n" % free_address())
    broker_pid, keeper = b.pids()
    quiet((broker_pid, keeper))
    trace = tmp_path / "trace"
    subprocess.run(["timeout", "-s", "INT", str(SECONDS), "strace", "-f", "-o", trace, "-p", str(broker_pid), "-p", str(keeper)],
                   stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    calls = [line for line in trace.read_text().splitlines() if "epoll_wait(" not in line and "epoll_pwait" not in line
             and "detached" not in line and "restart_syscall" not in line]
    assert calls == [], calls


def system_call(pid):
    with open(f"/proc/{pid}/syscall", encoding="ascii") as file:
        return file.read().split()


def test_it_waits_without_an_end(broker):
    """A wake-up once a minute is one too many, and too rare for a test: the waiting call shows it."""
    b = broker("[Socket web]\nListenStream=%s:%d\n" % free_address())
    quiet(b.pids())
    words = until(lambda: len(found := system_call(b.broker_pid)) > 1 and found, "who waits: it says only \"running\" until then")
    arguments = [int(word, 16) for word in words[1:]]
    # epoll_wait(2): descriptor, events, how many, timeout in milliseconds; days are as good as for ever
    timeout = arguments[3] & 0xFFFFFFFF
    assert timeout >= 1 << 31 or timeout > 24 * 3600 * 1000, f"it wakes in {timeout} ms"
