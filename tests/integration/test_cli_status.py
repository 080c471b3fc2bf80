"""What `fdpass status` shows, to people and to programs, and that nothing in it steers a terminal."""
import array
import contextlib
import fcntl
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading

import pytest

from testing.broker import FDPASS, children_of, clean_environment, free_address
from testing.process import until

HOLD = "import sys; print('up', flush=True); sys.stdin.read()"


def section(name, address, more=""):
    return f"[Socket {name}]\nListenStream={address}\n{more}"


def tcp():
    return "%s:%d" % free_address()


def run(*arguments, env=None, **kwargs):
    kwargs.setdefault("stdout", subprocess.PIPE)
    return subprocess.run([FDPASS, *arguments], env=env or clean_environment(), stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, timeout=30, check=False, **kwargs)


def on_terminal(broker, *arguments, columns=0, **more):
    """What a terminal gets, of so many columns (0: it does not say)."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        process = subprocess.Popen([FDPASS, *arguments], env=broker.environment(TERM="xterm", **more),
                                   stdin=slave, stdout=slave, stderr=slave)
    finally:
        os.close(slave)
    text = b""
    try:
        while data := os.read(master, 65536):
            text += data
    except OSError:  # EIO: the other side is closed
        pass
    os.close(master)
    assert process.wait(30) == 0, text
    return text


@pytest.fixture
def hold(broker):
    """hold(broker, name...): a program that holds these listeners until the test ends."""
    started = []

    def start(b, *names):
        process = subprocess.Popen([FDPASS, "exec", *names, "--", sys.executable, "-c", HOLD], env=b.environment(),
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "up\n"
        return process

    yield start
    for process in started:
        process.stdin.close()
        process.stdout.close()
        process.wait(30)


def test_the_table_shows_what_is_held_and_by_whom(broker, hold):
    one, two, three = tcp(), tcp(), tcp()
    b = broker(section("web", one, f"ListenStream={two}\n") + section("api", three, "NonBlocking=yes\n"))
    holder = hold(b, "web")
    lines = b.fdpass("status").stdout.splitlines()
    assert lines[0].split() == ["NAME", "ADDRESS", "QUEUE", "HOLDERS", "SINCE", "NOTES"]
    rows = [line.split() for line in lines[1:]]
    assert [row[:2] for row in rows] == [["api", three], ["web", one], ["web", two]]
    assert [row[3] for row in rows] == ["0", "1", "1"]
    assert "non-blocking" in rows[0] and len(lines) == 4
    rest = b.fdpass("status", "--verbose").stdout.splitlines()[5:]
    assert rest[0].split() == ["LISTENER", "PID", "PROGRAM", "USER", "SINCE", "READY", "STATUS"]
    assert rest[1].split()[:2] == ["web", str(holder.pid)] and os.path.realpath(sys.executable) in rest[1]


def test_names_choose(broker):
    b = broker("".join(section(name, tcp()) for name in ("api", "app", "web")))
    assert b.fdpass("status", "web").stdout.splitlines()[1].split()[0] == "web"
    chosen = json.loads(b.fdpass("--json", "status", "web", "api").stdout)
    assert [listener["name"] for listener in chosen["listeners"]] == ["api", "web"]
    assert chosen["schema"] == 1 and chosen["broker"]["pid"] in children_of(b.pid)
    assert "Nobody holds" in b.fdpass("status", "web").stdout


@pytest.mark.parametrize("names", [["wbe2"], ["web2", "wbe2"], ["no such", "web2"]])
def test_an_unknown_name_is_6_and_shows_nothing(broker, names):
    b = broker(section("web2", tcp()))
    done = b.fdpass("status", *names, check=False)
    assert done.returncode == 6 and done.stdout == "", done
    assert "no such" in done.stderr if "no such" in names else "Did you mean 'web2'?" in done.stderr


def test_without_listeners_the_next_step_is_told(broker):
    b = broker("")
    said = b.fdpass("status").stdout
    assert b.config_path in said and "fdpass apply" in said


@pytest.mark.root
def test_who_may_see_nothing_is_told_who_decides(broker):
    b = broker(section("web", tcp()))
    done = run("status", env=b.environment(), user=54321, group=54321, extra_groups=[])
    assert done.returncode == 0 and "Access=" in done.stdout and "web" not in done.stdout, done


def test_waiting_connections_are_noted(broker):
    host, port = free_address()
    b = broker(section("web", f"{host}:{port}"))
    with socket.create_connection((host, port)):
        row = b.fdpass("status").stdout.splitlines()[1]
    assert " 1/" in row and "connections wait" in row


def test_nothing_that_a_holder_says_steers_the_terminal(broker):
    b = broker(section("web", tcp()))
    with b.client() as client:
        client.acquire("web").close()
        assert client.request("NOTIFY", STATUS="\x1b]0;owned\x07\u202egnp\u009b1m done").ok
        for arguments in (["status", "--verbose", "--color=never"], ["status", "--json", "web"]):
            shown = on_terminal(b, *arguments)
            for evil in (b"\x1b", b"\x07", "\u202e".encode(), "\u009b".encode()):
                assert evil not in shown, shown
        assert b"\\x1b]0;owned\\x07" in on_terminal(b, "status", "web")
        piped = b.fdpass("status", "--json").stdout
        assert "\x1b" not in piped and "\u009b" not in piped and "\u202e" in piped, piped
        assert json.loads(piped)["listeners"][0]["leases"][0]["status"] == "\x1b]0;owned\x07\u202egnp\u009b1m done"


def test_colour_is_for_terminals(broker):
    b = broker(section("web", tcp()))
    assert b"\x1b[" in on_terminal(b, "status")
    assert b"\x1b[" not in on_terminal(b, "status", NO_COLOR="1")
    assert "\x1b[" not in b.fdpass("status").stdout
    assert "\x1b[" in b.fdpass("status", "--color=always").stdout


def test_long_addresses_are_not_cut_in_a_pipe(broker, tmp_path):
    b = broker("")
    path = os.path.join(b.folder, "x" * (107 - len(b.folder) - 1))
    b.write_config(section("web", path))
    b.fdpass("apply")
    assert path in b.fdpass("status").stdout


def test_a_narrow_terminal_gets_what_matters_in_lines_that_fit(broker):
    b = broker("[Component hermes]\nExecStart=sleep 3600\n"
               "[Component iris]\nType=notify\nRestart=no\nTimeoutStartSec=200ms\nExecStart=sleep 3600\n")
    until(lambda: [one["state"] for one in b.status()["components"]] == ["ready", "failed"], "both")
    headers = {}
    for columns in (200, 82, 60, 45):
        lines = on_terminal(b, "status", columns=columns, NO_COLOR="1").decode().splitlines()[:3]
        assert all(len(line) <= columns for line in lines), lines
        assert "failed" in lines[2] and "not ready" in lines[2]
        headers[columns] = lines[0].replace("LAST END", "LAST").split()
    assert len(headers[200]) == 10
    assert headers[82] == [one for one in headers[200] if one != "CONNECTIONS"]
    assert headers[60] == ["COMPONENT", "STATE", "GEN", "LAST", "QUEUE", "NOTES"]
    assert headers[45] == ["COMPONENT", "STATE", "LAST", "NOTES"]
    for whole in (b.fdpass("status").stdout, on_terminal(b, "status", NO_COLOR="1").decode()):
        assert "CONNECTIONS" in whole and "it has not said READY=1; killed by SIGTERM" in whole


def test_one_long_name_leaves_room_for_what_is_told_of_all(broker):
    name = "worker-" + "x" * 60
    b = broker(f"[Component {name}]\nExecStart=sleep 3600\n[Socket {name}]\nListenStream={tcp()}\n"
               "[Component iris]\nType=notify\nStartLimitBurst=1\nRestartSec=1ms\nExecStart=sh -c 'exit 3'\n")
    until(lambda: [one["state"] for one in b.status()["components"]] == ["failed", "ready"], "both")
    for columns in (80, 120):
        lines = on_terminal(b, "status", columns=columns, NO_COLOR="1").decode().splitlines()
        assert all(len(line) <= columns for line in lines[:3]), lines
        assert "exited with status" in lines[1] and "it was started" in lines[1] and "..." in lines[1], lines
        assert name[:20] in lines[2] and name not in lines[2] and "... ready" in lines[2], lines
        assert (name in lines[5]) == (columns == 120), lines  # no more is left out than has to be
    assert name in b.fdpass("status").stdout


def test_output_that_does_not_get_out_is_a_failure(broker):
    b = broker(section("web", tcp()))
    with open("/dev/full", "w", encoding="ascii") as full:
        for arguments in (["status"], ["status", "--json"], ["--help"], ["check", b.config_path]):
            done = run(*arguments, env=b.environment(), stdout=full)
            assert done.returncode == 1 and "No space left" in done.stderr, done
    read, write = os.pipe()
    os.close(read)
    done = run("status", env=b.environment(), stdout=write)
    os.close(write)
    assert done.returncode == 1 and "Broken pipe" in done.stderr, done
    done = subprocess.run(["sh", "-c", f"exec {FDPASS} status >&-"], env=b.environment(), capture_output=True,
                          text=True, timeout=30, check=False)
    assert done.returncode == 1 and "could not be written" in done.stderr, done


def test_a_stopped_broker_is_told_from_a_missing_one(broker):
    b = broker(section("web", tcp()))
    pid = b.broker_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        done = b.fdpass("status", check=False)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert done.returncode == 4 and "in time" in done.stderr, done


@pytest.mark.root
def test_who_may_not_connect_is_told_so(broker):
    b = broker(section("web", tcp()))
    os.chmod(b.folder, 0o700)
    done = run("status", env=b.environment(), user=65534, group=65534, extra_groups=[])
    assert done.returncode == 5 and b.control in done.stderr, done


# ---- a broker that lies --------------------------------------------------------------------------


@pytest.fixture
def liar(tmp_path):
    """liar(answer, content): something that answers every request so, with this as its memfd."""
    path = os.path.join(tmp_path, "broker.sock")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(path)
    listening.listen()
    threads = []

    def serve(answer, content):
        while True:
            try:
                session, _ = listening.accept()
            except OSError:
                return
            with session:
                while request := session.recv(16384):
                    serial = [line for line in request.decode().split("\n") if line.startswith("SERIAL=")][0]
                    fds = []
                    if content is not None:
                        fds.append(os.memfd_create("document"))
                        os.write(fds[0], content)
                    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
                    session.sendmsg([f"{answer}\n{serial}".encode()], control)
                    for fd in fds:
                        os.close(fd)

    def start(answer, content=None):
        threads.append(threading.Thread(target=serve, args=(answer, content)))
        threads[-1].start()
        return path

    yield start
    listening.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(10)
    listening.close()


@pytest.mark.parametrize("answer, content", [
    ("OK=1", None),
    ("OK=1\nDOCUMENT=json\nSIZE=2", None),
    ("OK=1\nDOCUMENT=json\nSIZE=3", b"{}"),
    ("OK=1\nDOCUMENT=json\nSIZE=18446744073709551615", b"{}"),
    ("OK=1\nDOCUMENT=json\nSIZE=5", b"{\"a\":"),
    ("OK=1\nDOCUMENT=json\nSIZE=100000", b"[" * 100000),
    ("OK=1\nDOCUMENT=yaml\nSIZE=2", b"{}"),
], ids=str)
def test_a_document_that_is_none_is_said_to_be_none(liar, answer, content):
    done = run("--socket", liar(answer, content), "status")
    assert done.returncode == 1 and done.stdout == "" and done.stderr.startswith("fdpass: the status: "), done


@pytest.mark.parametrize("document", [
    {}, {"listeners": 7}, {"listeners": [1, None, {}]}, {"listeners": [{"name": 3, "sockets": {}, "leases": 9}]},
    {"listeners": [{"name": "web", "sockets": [{"address": None, "queue": {"length": -1, "limit": "x"},
                                               "since_usec": 2 ** 62}], "leases": [{"pid": 2 ** 62, "uid": -1}]}]},
])
def test_members_that_are_missing_or_odd_do_no_harm(liar, document):
    content = json.dumps(document).encode()
    path = liar(f"OK=1\nDOCUMENT=json\nSIZE={len(content)}", content)
    for arguments in (["status", "-v"], ["status", "--json"]):
        done = run("--socket", path, *arguments)
        assert done.returncode == 0 and "Sanitizer" not in done.stderr + done.stdout, done


def test_an_error_with_control_characters_is_shown_without_them(liar):
    done = run("--socket", liar("ERROR=EACCES\nMESSAGE=no \x1b[2J"), "status")
    assert done.returncode == 5 and done.stderr == "fdpass: no \\x1b[2J\n", done


@pytest.mark.parametrize("count", ["OPENED=x", "OPENED=99999999999999999999999", "X-A=1"])
def test_counts_of_apply_that_are_none_are_not_shown(liar, count):
    done = run("--socket", liar(f"OK=1\n{count}"), "apply")
    assert done.returncode == 0 and done.stdout == "The configuration is applied.\n", done


def test_the_queues_of_many_unix_listeners(broker, tmp_path):
    """They are asked for all at once."""
    b = broker("".join(f"[Socket s{i}]\nListenStream={tmp_path}/s{i}.sock\nBacklog={10 + i}\n" for i in range(100)))
    with contextlib.ExitStack() as stack:
        for i in (0, 50, 50, 99):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(f"{tmp_path}/s{i}.sock")
        queues = {l["name"]: l["sockets"][0]["queue"] for l in b.status()["listeners"]}
    assert {name: q["length"] for name, q in queues.items() if q["length"]} == {"s0": 1, "s50": 2, "s99": 1}
    assert all(queues[f"s{i}"]["limit"] == 10 + i for i in range(100))
