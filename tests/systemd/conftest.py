"""Under a real systemd only: see inside.sh. Units and configuration are written where they belong."""
import os
import shutil
import subprocess

import pytest

CONFIG = "/etc/fdpass/fdpass.conf"
UNITS = "/etc/systemd/system"

if os.environ.get("RUN_UNDER_SYSTEMD") != "1":
    collect_ignore_glob = ["test_*"]


class System:
    """The machine: units, configuration, journal."""

    def __init__(self):
        self.written = []

    def run(self, *command, check=True, **kwargs):
        done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60, check=False, **kwargs)
        if check and done.returncode != 0:
            raise AssertionError(f"{command}: status {done.returncode}\n{done.stdout}{done.stderr}\n{self.journal()}")
        return done

    def systemctl(self, *arguments, **kwargs):
        return self.run("systemctl", *arguments, **kwargs)

    def show(self, unit, name):
        return self.systemctl("show", unit, "--value", "-p", name).stdout.strip()

    def main_pid(self):
        return int(self.show("fdpassd.service", "MainPID"))

    def journal(self):
        return subprocess.run(["journalctl", "--no-pager", "-n", "40", "-o", "short-monotonic"], capture_output=True,
                              text=True, timeout=60, check=False).stdout

    def configure(self, text):
        os.makedirs(os.path.dirname(CONFIG), exist_ok=True)
        with open(CONFIG, "w", encoding="ascii") as file:
            file.write(text)

    def unit(self, name, text):
        path = os.path.join(UNITS, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        self.written.append(path)
        self.systemctl("daemon-reload")

    def clean(self):
        units = {"fdpassd.service", "fdpassd.socket", "fdpassd-components.service"}
        units |= {os.path.basename(p) for p in self.written if p.count("/") == 4}
        # sockets first, or a connection in a queue would start the service again
        for unit in sorted(units, key=lambda u: not u.endswith(".socket")):
            self.systemctl("stop", unit, check=False)
        # what a stop leaves: KillMode=process
        self.systemctl("kill", "-s", "KILL", "fdpassd-components.service", check=False)
        for unit in units:
            self.systemctl("reset-failed", unit, check=False)
        for path in self.written:
            if os.path.dirname(path).endswith(".d"):
                shutil.rmtree(os.path.dirname(path), ignore_errors=True)
            elif os.path.exists(path):
                os.unlink(path)
        self.systemctl("daemon-reload")
        shutil.rmtree("/etc/fdpass", ignore_errors=True)
        shutil.rmtree("/run/fdpass", ignore_errors=True)


@pytest.fixture
def system():
    machine = System()
    yield machine
    machine.clean()
