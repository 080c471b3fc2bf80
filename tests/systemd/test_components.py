"""The service that runs components, under a real systemd: they outlive its death, restart and upgrade."""
import json
import os
import signal
import socket
import sys

import pytest

from testing.broker import DEADLINE, FDPASS, FDPASSD, free_address
from testing.load import Load
from testing.process import until
from testing.scene import REQUEST, SERVER

UNIT = "fdpassd-components.service"


class Service:
    def __init__(self, system, more=""):
        self.system = system
        self.address = free_address()
        system.configure("[Socket web]\nListenStream=%s:%d\n" % self.address +
                         "[Component hermes]\nSockets=web\nNonBlocking=yes\nType=notify\nRestart=always\n"
                         f"RestartSec=10ms\nStartLimitIntervalSec=0\nExecStart={sys.executable} -IS {SERVER}\n{more}")
        system.systemctl("start", UNIT)
        self.wait(1)

    def main_pid(self):
        return int(self.system.show(UNIT, "MainPID"))

    def component(self):
        return json.loads(self.system.run(FDPASS, "status", "--json").stdout)["components"][0]

    def processes(self):
        return [(i["generation"], i["pid"], i["state"]) for i in self.component()["instances"]]

    def wait(self, generation):
        """Until it alone serves; its pid."""
        return until(lambda: [pid for g, pid, state in self.processes() if (g, state) == (generation, "ready") and
                              len(self.processes()) == 1],
                     lambda: f"no generation {generation}: {self.component()}\n{self.system.journal()}")[0]

    def kill(self):
        pid = self.main_pid()
        self.system.systemctl("kill", "--kill-whom=main", "-s", "KILL", UNIT)
        until(lambda: self.main_pid() not in (0, pid), "systemd does not start it again")

    def stored(self):
        return int(self.system.show(UNIT, "NFileDescriptorStore"))


def cgroup_of(pid):
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
        return next(line.strip()[3:] for line in file if line.startswith("0::"))


@pytest.fixture
def service(system):
    return lambda more="": Service(system, more)


def test_the_unit_is_right(system):
    done = system.run("systemd-analyze", "verify", "--man=no", UNIT)
    assert done.stderr == ""


def test_components_go_on_through_kill_restart_and_reload(service, system):
    s = service()
    before = s.processes()
    pid = before[0][1]
    stored = s.stored()
    with Load(s.address, request=REQUEST) as load:
        load.wait_served(20)
        for _ in range(3):
            s.kill()
            assert s.processes() == before
        for verb in ("daemon-reload", "daemon-reexec"):
            system.systemctl(verb)
            s.kill()
            assert s.processes() == before
        system.systemctl("restart", UNIT)
        assert s.processes() == before
        system.run(FDPASS, "upgrade", FDPASSD)
        assert s.processes() == before
        load.wait_served(20)
    assert load.made == load.served, str(load)
    assert s.stored() == stored
    assert os.path.exists(f"/proc/{pid}")


def test_they_are_supervised_after_that_and_their_ends_are_known(service, system):
    s = service()
    for generation, way in enumerate([s.kill, lambda: system.systemctl("restart", UNIT), s.kill], 1):
        way()
        os.kill(s.wait(generation), signal.SIGKILL)
        s.wait(generation + 1)
        assert s.component()["last_end"]["text"] == "killed by SIGKILL", system.journal()
    system.run(FDPASS, "restart", "hermes")
    s.wait(5)


def test_each_has_a_cgroup_below_that_of_the_service(service, system):
    s = service()
    for generation in (1, 2):
        pid = s.wait(generation)
        own = cgroup_of(s.main_pid())
        assert own == "/system.slice/" + UNIT
        assert cgroup_of(pid) == f"{own}/fdpass-hermes-{generation}-1"
        s.kill()
        assert cgroup_of(pid) == f"{own}/fdpass-hermes-{generation}-1"
        system.run(FDPASS, "restart", "hermes")
    groups = [name for name in os.listdir("/sys/fs/cgroup" + own) if name.startswith("fdpass")]
    assert groups == ["fdpass-hermes-3-1"]


def test_output_is_in_the_journal_with_its_component(service, system):
    s = service()
    s.kill()
    os.kill(s.wait(1), signal.SIGHUP)
    until(lambda: any(entry["MESSAGE"] == "hermes: reloads" for entry in journal(system)), system.journal)


def test_the_last_lines_are_in_the_fd_store(service, system):
    def lines():
        text = system.run(FDPASS, "logs", "hermes", "--json").stdout
        return [(line["number"], line["text"]) for line in map(json.loads, text.splitlines())]

    s = service()
    pid = s.wait(1)
    ways = [s.kill, lambda: system.systemctl("restart", UNIT), lambda: system.run(FDPASS, "upgrade", FDPASSD), s.kill]
    for number, way in enumerate(ways, 1):
        os.kill(pid, signal.SIGHUP)
        until(lambda n=number: lines() == [(k, "reloads") for k in range(1, n + 1)], lines)
        before = lines()
        stored = s.stored()
        way()
        assert lines() == before, system.journal()
        assert s.stored() == stored


def journal(system):
    lines = system.run("journalctl", "--no-pager", "-o", "json", "FDPASS_COMPONENT=hermes").stdout
    return [json.loads(line) for line in lines.splitlines()]


def test_a_stop_leaves_them_and_stopping_them_is_said(service, system):
    s = service()
    pid = s.wait(1)
    system.run(FDPASS, "stop", "--all")
    assert not os.path.exists(f"/proc/{pid}"), "fdpass stop --all comes back when they have ended"
    system.run(FDPASS, "start", "--all")
    pid = s.wait(2)
    system.systemctl("stop", UNIT)
    with socket.create_connection(s.address, timeout=DEADLINE) as connection:
        connection.sendall(REQUEST)
        assert f"pid={pid}".encode() in connection.recv(4096)
    system.systemctl("kill", "-s", "KILL", UNIT)
    until(lambda: not os.path.exists(f"/proc/{pid}"), "it lives")


def test_StopComponents_stops_them_with_the_service(service, system):
    s = service("[Broker]\nStopComponents=yes\n")
    pid = s.wait(1)
    system.systemctl("stop", UNIT)
    assert not os.path.exists(f"/proc/{pid}")
