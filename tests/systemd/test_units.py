"""The installed units under a real systemd: start, sockets, restart, watchdog, reload, stop, journal."""
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from testing.broker import FDPASS, free_address
from testing.load import Load
from testing.process import SERVER, until

CONTROL = "/run/fdpass/broker.sock"
BUILD = os.environ.get("BUILD", "")
EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples")


def web(host, port, name="web"):
    return f"[Socket {name}]\nListenStream={host}:{port}\n"


def web_socket(host, port, more=""):
    return f"[Socket]\nListenStream={host}:{port}\nService=fdpassd.service\n{more}"


def status(system):
    return json.loads(system.run(FDPASS, "status", "--json").stdout)


def sockets_of(pid):
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            found.add(int(target[8:-1]))
    return found


def inode_of_path(path):
    """Of the listening socket that is bound to a path: the kernel's table of Unix sockets."""
    with open("/proc/net/unix", encoding="ascii") as file:
        found = [line.split() for line in file if line.rstrip().endswith(" " + path)]
    return {int(row[6]) for row in found if int(row[3], 16) & 0x10000}


def serve(processes, name="web"):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("LISTEN_", "NOTIFY", "FDPASS_"))}
    processes.append(subprocess.Popen([FDPASS, "exec", name, "--", sys.executable, "-c", SERVER], env=env,
                                      stdin=subprocess.DEVNULL, start_new_session=True))
    return processes[-1]


def test_systemd_finds_nothing_wrong_in_the_units(system):
    done = system.run("systemd-analyze", "verify", "--man=no", "fdpassd.service", "fdpassd.socket")
    assert "fdpassd" not in done.stderr, done.stderr


def test_starts_as_a_notify_service(system):
    system.configure(web(*free_address()))
    system.systemctl("start", "fdpassd.service")
    assert system.show("fdpassd.service", "ActiveState") == "active"
    assert "1" in system.show("fdpassd.service", "StatusText")
    assert status(system)["broker"]["pid"] == system.main_pid()


def test_starts_without_any_configuration(system):
    system.systemctl("start", "fdpassd.service")
    assert status(system)["listeners"] == []


def test_a_wrong_configuration_fails_the_start_and_is_in_the_journal(system):
    system.unit("fdpassd.service.d/once.conf", "[Service]\nRestart=no\n")
    system.configure("[Socket web]\nListenStream=nonsense\n")
    assert system.systemctl("start", "fdpassd.service", check=False).returncode != 0
    until(lambda: "fdpass.conf:2" in system.journal(), "the journal does not name the line")


def test_the_control_socket_is_the_one_that_systemd_opened(system):
    system.configure(web(*free_address()))
    system.systemctl("start", "fdpassd.socket")
    before = inode_of_path(CONTROL)
    assert len(before) == 1
    system.systemctl("start", "fdpassd.service")
    assert inode_of_path(CONTROL) == before
    assert before <= sockets_of(system.main_pid()) and before <= sockets_of(1)
    system.systemctl("restart", "fdpassd.service")
    assert inode_of_path(CONTROL) == before
    assert oct(os.stat(CONTROL).st_mode & 0o777) == "0o666"


def test_a_client_starts_the_broker(system):
    system.configure(web(*free_address()))
    system.systemctl("start", "fdpassd.socket")
    assert system.show("fdpassd.service", "ActiveState") == "inactive"
    assert len(status(system)["listeners"]) == 1
    assert system.show("fdpassd.service", "ActiveState") == "active"


def test_clients_that_call_during_a_restart_wait(system):
    system.configure(web(*free_address()))
    system.systemctl("start", "fdpassd.socket", "fdpassd.service")
    restart = subprocess.Popen(["systemctl", "restart", "fdpassd.service"], stdin=subprocess.DEVNULL)
    while restart.poll() is None:
        assert len(status(system)["listeners"]) == 1
    assert restart.returncode == 0


@pytest.mark.parametrize("by", ["unit name", "FileDescriptorName", "address"])
def test_a_socket_of_systemd_is_adopted_not_bound_again(system, by):
    host, port = free_address()
    unit = {"unit name": "web.socket", "FileDescriptorName": "front.socket", "address": "other.socket"}[by]
    system.unit(unit, web_socket(host, port, "FileDescriptorName=web\n" if by == "FileDescriptorName" else ""))
    system.configure(web(host, port))
    system.systemctl("start", unit)
    system.systemctl("start", "fdpassd.service")
    adopted = status(system)["listeners"][0]["sockets"][0]
    assert adopted["adopted"] is True
    assert adopted["inode"] in sockets_of(1) and adopted["inode"] in sockets_of(system.main_pid())


def test_nothing_is_refused_while_broker_and_server_are_restarted(system, processes):
    host, port = free_address()
    system.unit("web.socket", web_socket(host, port, "Backlog=4096\n"))
    system.configure(web(host, port) + "Backlog=4096\n")
    system.systemctl("start", "fdpassd.socket", "web.socket", "fdpassd.service")
    inode = status(system)["listeners"][0]["sockets"][0]["inode"]
    server = serve(processes)
    with Load((host, port)) as load:
        load.wait_served(20)
        for round_number in range(6):
            # the server goes first, so that nobody but systemd has the socket
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
            if round_number % 2:
                before = system.main_pid()
                system.systemctl("kill", "--kill-whom=main", "-s", "KILL", "fdpassd.service")
                until(lambda b=before: system.main_pid() not in (0, b), "systemd does not start it again")
            else:
                system.systemctl("restart", "fdpassd.service")
            server = serve(processes)
            load.wait_served(20)
    assert load.refused == 0 and not load.others, load
    assert status(system)["listeners"][0]["sockets"][0]["inode"] == inode


def test_the_watchdog_is_fed_and_ends_a_broker_that_hangs(system):
    system.unit("fdpassd.service.d/watchdog.conf", "[Service]\nWatchdogSec=3\n")
    system.configure(web(*free_address()))
    system.systemctl("start", "fdpassd.service")
    pid = system.main_pid()
    time.sleep(7)  # more than twice what the watchdog allows
    assert system.main_pid() == pid and system.show("fdpassd.service", "NRestarts") == "0"
    os.kill(pid, signal.SIGSTOP)
    until(lambda: system.main_pid() not in (0, pid), "the watchdog does nothing")
    until(lambda: system.show("fdpassd.service", "ActiveState") == "active", "it does not come back")


def test_reload_applies_and_keeps_process_and_sockets(system):
    first, second = free_address(), free_address()
    system.configure(web(*first))
    system.systemctl("start", "fdpassd.service")
    pid, inode = system.main_pid(), status(system)["listeners"][0]["sockets"][0]["inode"]
    system.configure(web(*first) + web(*second, name="zzz"))
    system.systemctl("reload", "fdpassd.service")
    until(lambda: len(status(system)["listeners"]) == 2, "the new listener is not there")
    assert system.main_pid() == pid and status(system)["listeners"][0]["sockets"][0]["inode"] == inode
    assert system.show("fdpassd.service", "ActiveState") == "active"


def test_stop_is_quick_whoever_is_connected_and_leaves_holders_alone(system, processes):
    host, port = free_address()
    system.configure(web(host, port))
    system.systemctl("start", "fdpassd.service")
    silent = []
    for _ in range(100):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.connect(CONTROL)
        s.send(b"VERB=STATUS")
        silent.append(s)
    server = serve(processes)
    until(lambda: status(system)["listeners"][0]["leases"], "no lease")
    begin = time.monotonic()
    system.systemctl("stop", "fdpassd.service")
    assert time.monotonic() - begin < 10  # whom it waits for stays for ever
    assert system.show("fdpassd.service", "Result") == "success"
    assert server.poll() is None
    socket.create_connection((host, port)).close()
    for s in silent:
        s.close()


def test_journal_entries_carry_the_listener_s_name(system):
    host, port = free_address()
    system.configure(web(host, port))
    system.systemctl("start", "fdpassd.service")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        import array
        s.connect(CONTROL)
        s.send(b"VERB=ACQUIRE\nNAME=web")
        _, control, _, _ = s.recvmsg(16384, socket.CMSG_SPACE(4))
        with socket.socket(fileno=array.array("i", control[0][2])[0]) as listener:
            listener.shutdown(socket.SHUT_RDWR)

    def entries():
        out = system.run("journalctl", "-u", "fdpassd.service", "-o", "json", "FDPASS_LISTENER=web", check=False).stdout
        return [json.loads(line) for line in out.splitlines() if line.startswith("{")]

    until(entries, "no entry has FDPASS_LISTENER=web")
    assert all(e["SYSLOG_IDENTIFIER"] == "fdpassd" and e["MESSAGE"] for e in entries())


def test_in_its_sandbox_it_binds_what_it_is_there_for(system, tmp_path):
    """A privileged port, a Unix path with owner and mode in a folder that it makes, one in /tmp."""
    in_tmp = str(tmp_path / "t.sock")
    assert in_tmp.startswith("/tmp/")
    system.configure("[Socket web]\nListenStream=127.0.0.1:80\n"
                     "[Socket app]\nListenStream=/run/app/app.sock\nSocketUser=nobody\nSocketMode=0600\n"
                     f"[Socket tmp]\nListenStream={in_tmp}\n")
    system.systemctl("start", "fdpassd.service")
    assert os.stat("/run/app/app.sock").st_uid == 65534
    assert os.path.exists(in_tmp)
    # the guard of the path works in there as well, with an owner that is not root
    inode = inode_of_path("/run/app/app.sock")
    os.unlink("/run/app/app.sock")
    until(lambda: os.path.exists("/run/app/app.sock"), "the path does not come back")
    assert inode_of_path("/run/app/app.sock") == inode and os.stat("/run/app/app.sock").st_uid == 65534


def test_in_its_sandbox_it_names_who_has_an_address(system, processes):
    host, port = free_address()
    processes.append(subprocess.Popen(
        [sys.executable, "-c", f"import socket, time\ns = socket.socket()\ns.bind(({host!r}, {port}))\n"
                               "s.listen()\nprint('up', flush=True)\ntime.sleep(600)"],
        stdout=subprocess.PIPE, user=65533, group=65533, extra_groups=[], start_new_session=True))
    assert processes[0].stdout.readline() == b"up\n"
    processes[0].stdout.close()
    system.systemctl("start", "fdpassd.service")
    system.configure(web(host, port))
    done = system.run(FDPASS, "apply", check=False)
    assert done.returncode != 0 and str(processes[0].pid) in done.stdout + done.stderr, done
    assert system.show("fdpassd.service", "ActiveState") == "active"


@pytest.fixture(scope="module")
def hello(tmp_path_factory):
    """examples/hello.c, built against what was installed, as a user builds it."""
    program = tmp_path_factory.mktemp("hello") / "hello"
    env = dict(os.environ, PKG_CONFIG_PATH=":".join(
        os.path.join("/usr/local", d, "pkgconfig") for d in ("lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib", "lib64")))
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libfdpass"], env=env, capture_output=True, text=True,
                           check=True).stdout.split()
    folder = subprocess.run(["pkg-config", "--variable=libdir", "libfdpass"], env=env, capture_output=True, text=True,
                            check=True).stdout.strip()
    subprocess.run(["cc", "-Wall", "-Werror", os.path.join(EXAMPLES, "hello.c"), "-o", program, *flags,
                    f"-Wl,-rpath,{folder}"], check=True)
    return str(program)


@pytest.mark.parametrize("how", ["systemd", "fdpass exec", "broker"])
def test_one_program_with_one_call_works_three_ways(system, processes, hello, how):
    host, port = free_address()
    if how == "systemd":
        system.unit("web.socket", f"[Socket]\nListenStream={host}:{port}\nService=hello.service\n")
        system.unit("hello.service", f"[Service]\nExecStart={hello}\n")
        system.systemctl("start", "web.socket")
    else:
        system.configure(web(host, port))
        system.systemctl("start", "fdpassd.service")
        command = [hello] if how == "broker" else [FDPASS, "exec", "web", "--", hello]
        env = {k: v for k, v in os.environ.items() if not k.startswith(("LISTEN_", "NOTIFY", "FDPASS_"))}
        processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, env=env, start_new_session=True))
    with socket.create_connection((host, port)) as peer:
        peer.settimeout(20)
        assert peer.recv(16) == b"hello\n"
