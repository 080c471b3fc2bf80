"""`fdpass exec` under unfriendly circumstances: what it may not touch, and what it must not lose."""
import json
import os
import resource
import signal
import socket
import subprocess
import sys

import pytest

from testing.broker import FDPASS, Broker, free_address, private_folder

STATE = """
import json, os, signal
def field(name):
    with open("/proc/self/status") as file:
        return [line.split()[1] for line in file if line.startswith(name + ":")][0]
os.write(int(os.environ["REPORT"]), json.dumps({
    "open": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
    "blocked": field("SigBlk"), "ignored": field("SigIgn"), "umask": field("Umask"),
    "fds": os.environ["LISTEN_FDS"], "pid": int(os.environ["LISTEN_PID"]) == os.getpid(),
    "sockets": [os.readlink("/proc/self/fd/%d" % (3 + n)) for n in range(int(os.environ["LISTEN_FDS"]))],
}).encode())
"""


def web(address=None):
    return "[Socket web]\nListenStream=%s:%d\n" % (address or free_address())


def state(broker, prepare=lambda: None, names=("web",)):
    """What the program finds when fdpass was started after prepare()."""
    read, write = os.pipe()
    os.set_inheritable(write, True)
    high = os.dup2(write, 200, inheritable=True)
    os.close(write)
    try:
        done = subprocess.run(
            [FDPASS, "exec", *names, "--", sys.executable, "-S", "-E", "-c", STATE],
            env=broker.environment(REPORT=high), pass_fds=[high], preexec_fn=prepare, restore_signals=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30, check=False)
    finally:
        os.close(high)
    with os.fdopen(read) as report:
        text = report.read()
    assert done.returncode == 0, done
    return json.loads(text), done.stderr.decode()


def test_signals_and_umask_are_left_as_they_were(broker):
    b = broker(web())

    def prepare():
        os.umask(0o027)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR2})

    seen, said = state(b, prepare)
    assert seen["umask"] == "0027" and said == ""
    assert int(seen["blocked"], 16) == 1 << (signal.SIGUSR2 - 1)
    assert int(seen["ignored"], 16) & 1 << (signal.SIGUSR1 - 1)
    # Python ignores SIGPIPE when it starts, so another program has to tell. What else is ignored here is the affair of
    # who runs the tests: a shell has what it runs in the background ignore SIGINT.
    with open("/proc/self/status", encoding="ascii") as status:
        ours = next(int(line.split()[1], 16) for line in status if line.startswith("SigIgn:"))
    done = b.fdpass("exec", "web", "--", "grep", "SigIgn", "/proc/self/status")
    for_python = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
    assert int(done.stdout.split()[1], 16) & ~(ours & ~for_python) == 0


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_works_with_standard_descriptors_closed(broker, closed):
    b = broker(web())

    def prepare():
        for fd in closed:
            os.close(fd)

    seen, _ = state(b, prepare)
    assert seen["sockets"] == [f"socket:[{b.inode('web')}]"]
    # Python opens what it finds closed only for itself: what we must not do is leave sockets there
    assert 3 in seen["open"]


def test_what_stood_in_the_way_is_replaced_with_a_warning(broker):
    b = broker(web())

    done = subprocess.run(
        ["sh", "-c", f"exec 3</dev/null 5</dev/null; exec {FDPASS} exec web -- ls -l /proc/self/fd"],
        env=b.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=True)
    assert f"3 -> socket:[{b.inode('web')}]" in done.stdout and "5 -> /dev/null" in done.stdout
    assert "1 descriptor from 3 up" in done.stderr


def test_descriptors_of_an_outer_activation_are_not_lost_silently(broker):
    b = broker(web() + web().replace("web", "api"))
    done = b.fdpass("exec", "web", "api", "--", FDPASS, "exec", "api", "--", "ls", "-l", "/proc/self/fd")
    assert f"3 -> socket:[{b.inode('api')}]" in done.stdout and "4 -> socket" not in done.stdout
    assert "2 descriptors that LISTEN_FDS passed" in done.stderr


def test_many_sockets_of_one_listener_in_order(broker):
    """More than go into one packet."""
    host, _ = free_address()
    probes = [socket.socket() for _ in range(300)]
    for probe in probes:
        probe.bind((host, 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    b = broker("[Socket many]\n" + "".join(f"ListenStream={host}:{port}\n" for port in ports)
               + "FileDescriptorName=m\n" + web())
    done = b.fdpass("exec", "many", "web", "--", sys.executable, "-c",
                    "import os, socket\nprint(os.environ['LISTEN_FDNAMES'])\n"
                    "for n in range(300): print(socket.socket(fileno=3 + n).getsockname()[1])")
    names, *seen = done.stdout.split()
    assert names == ":".join(["m"] * 300 + ["web"])
    assert [int(port) for port in seen] == ports


def test_a_limit_that_is_too_low_is_named_and_nothing_is_run(broker, tmp_path):
    b = broker("[Socket many]\n" + "".join("ListenStream=%s:%d\n" % free_address() for _ in range(8)))
    mark = tmp_path / "ran"
    done = subprocess.run(
        [FDPASS, "exec", "many", "--", "touch", mark], env=b.environment(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=30, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8)))
    assert done.returncode == 125 and "ulimit -n" in done.stderr and not mark.exists(), done


@pytest.mark.parametrize("arguments, said", [
    (["web", "true"], "a '--' must stand between"),
    (["web", "--"], "no command stands after the '--'"),
    (["--", "true"], "which listeners?"),
    (["web", "api", "web", "--", "true"], "'web' is named twice"),
    (["we b", "--", "true"], "cannot be the name of a listener"),
    (["a:b", "--", "true"], "cannot be the name of a listener"),
    (["--no-such", "web", "--", "true"], "there is no option '--no-such'"),
    (["--json", "web", "--", "true"], "there is no option '--json'"),
    (["--wait=soon", "web", "--", "true"], "whole seconds"),
    (["--wait=-1", "web", "--", "true"], "whole seconds"),
])
def test_wrong_usage_is_125_and_says_what_would_be_right(arguments, said):
    done = subprocess.run([FDPASS, "exec", *arguments], env={"FDPASS_SOCKET": "/nonexistent"}, timeout=30,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 125 and said in done.stderr and done.stdout == "", done


def test_options_after_the_separator_are_the_commands(broker):
    b = broker(web())
    assert b.fdpass("exec", "web", "--", "echo", "--json", "--", "--help").stdout == "--json -- --help\n"


def test_a_missing_interpreter_is_not_a_missing_program(broker, tmp_path):
    b = broker(web())
    script = tmp_path / "serve"
    script.write_text("#!/nonexistent/interpreter\n")
    script.chmod(0o755)
    done = b.fdpass("exec", "web", "--", script, check=False)
    assert done.returncode == 126 and "interpreter" in done.stderr


def test_wait_waits_for_a_broker_to_come_up():
    folder = private_folder()
    b = None
    control = os.path.join(folder, "broker.sock")
    waiting = subprocess.Popen([FDPASS, "--socket", control, "exec", "--wait", "web", "--", "echo", "up"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert control in waiting.stderr.readline()
        b = Broker(web(), folder=folder)
        assert waiting.communicate(timeout=30)[0] == "up\n" and waiting.returncode == 0
        b.stop()
    finally:
        waiting.kill()
        waiting.communicate()
        if b:
            b.own_folder = True
            b.remove()


def test_wait_ends():
    done = subprocess.run([FDPASS, "--socket=/nonexistent/b.sock", "exec", "--wait=0", "web", "--", "true"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 125 and "/nonexistent/b.sock" in done.stderr
