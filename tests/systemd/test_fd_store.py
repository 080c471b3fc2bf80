"""systemd's fd store in place of a keeper: what the broker bound itself outlives it."""
import json
import os
import signal
import socket
import subprocess
import sys

from testing.broker import FDPASS, free_address
from testing.load import Load
from testing.process import SERVER, until

CONTROL = "/run/fdpass/broker.sock"


def web(address, name="web"):
    return "[Socket %s]\nListenStream=%s:%d\nBacklog=4096\n" % (name, *address)


def status(system):
    return json.loads(system.run(FDPASS, "status", "--json").stdout)


def inodes(system):
    return {l["name"]: l["sockets"][0]["inode"] for l in status(system)["listeners"]}


def leases(system, name="web"):
    return [lease["pid"] for l in status(system)["listeners"] if l["name"] == name for lease in l["leases"]]


def stored(system):
    return int(system.show("fdpassd.service", "NFileDescriptorStore"))


def serve(system, processes):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("LISTEN_", "NOTIFY", "FDPASS_"))}
    process = subprocess.Popen([FDPASS, "exec", "web", "--", sys.executable, "-c", SERVER], env=env,
                               stdin=subprocess.DEVNULL, start_new_session=True)
    processes.append(process)
    until(lambda: leases(system) == [process.pid], "no lease")
    return process


def kill(system, number="KILL"):
    pid = system.main_pid()
    system.systemctl("kill", "--kill-whom=main", "-s", number, "fdpassd.service")
    until(lambda: system.main_pid() not in (0, pid), "systemd does not start it again")


def start(system, *addresses):
    names = ["web", "api", "more"]
    system.configure("".join(web(address, name) for address, name in zip(addresses, names)))
    system.systemctl("start", "fdpassd.service")
    return inodes(system)


def test_there_is_no_keeper(system):
    start(system, free_address())
    assert status(system)["broker"]["pid"] == system.main_pid()
    with open(f"/proc/{system.main_pid()}/task/{system.main_pid()}/children", encoding="ascii") as file:
        assert file.read() == ""
    assert stored(system) >= 5  # state, lock, control socket, configuration, listener


def test_killed_again_and_again_under_load_nothing_is_refused_and_nothing_lost(system, processes):
    address = free_address()
    before = start(system, address, free_address())
    server = serve(system, processes)
    control = os.stat(CONTROL).st_ino
    count = None
    with Load(address) as load:
        load.wait_served(20)
        for _ in range(8):
            kill(system)
            assert inodes(system) == before
            assert leases(system) == [server.pid]
            count = count or stored(system)
            assert stored(system) == count
        load.wait_served(20)
    assert load.refused == 0 and load.cut == 0 and not load.others, load
    assert os.stat(CONTROL).st_ino == control


def test_a_restart_keeps_the_sockets_and_reads_the_new_files(system, processes):
    address = free_address()
    before = start(system, address)
    server = serve(system, processes)
    with Load(address) as load:
        load.wait_served(20)
        system.configure(web(address) + web(free_address(), "new"))
        system.systemctl("restart", "fdpassd.service")
        load.wait_served(20)
    assert load.refused == 0 and load.cut == 0 and not load.others, load
    assert inodes(system)["web"] == before["web"] and "new" in inodes(system)
    assert leases(system) == [server.pid]


def test_a_crash_does_not_read_the_new_files(system):
    address = free_address()
    before = start(system, address)
    system.configure("[Socket web]\nListenStream=nonsense\n")
    kill(system)
    assert inodes(system) == before
    assert "fdpass apply" in system.journal()


def test_daemon_reload_and_reexec_keep_everything(system):
    before = start(system, free_address())
    for verb in ("daemon-reload", "daemon-reexec"):
        system.systemctl(verb)
        kill(system)
        assert inodes(system) == before


def test_the_watchdog_ends_it_and_its_sockets_live_on(system):
    system.unit("fdpassd.service.d/watchdog.conf", "[Service]\nWatchdogSec=3\n")
    before = start(system, free_address())
    pid = system.main_pid()
    os.kill(pid, signal.SIGSTOP)
    until(lambda: system.main_pid() not in (0, pid), "the watchdog does nothing")
    assert inodes(system) == before


def test_stop_lets_go_and_start_begins_anew(system):
    """Without FileDescriptorStorePreserve= (systemd 254), or with its default, a stop ends all."""
    address = free_address()
    before = start(system, address)
    system.systemctl("stop", "fdpassd.service")
    assert stored(system) == 0
    with socket.socket() as peer:
        assert peer.connect_ex(address) != 0
    system.configure(web(address) + web(free_address(), "new"))
    system.systemctl("start", "fdpassd.service")
    assert set(inodes(system)) == {"web", "new"} and inodes(system)["web"] != before["web"]


def test_with_a_socket_unit_the_control_socket_is_one_all_along(system):
    start(system)
    system.systemctl("stop", "fdpassd.service")
    system.configure(web(free_address()))
    system.systemctl("start", "fdpassd.socket", "fdpassd.service")
    before, count, pid = inodes(system), stored(system), system.main_pid()
    fds = None
    for _ in range(3):
        kill(system)
        assert inodes(system) == before and stored(system) == count
        assert system.main_pid() != pid
        found = len(os.listdir(f"/proc/{system.main_pid()}/fd"))
        fds = fds or found
        assert abs(found - fds) <= 1, "descriptors add up from life to life"
    assert "no listener claims" not in system.journal()
