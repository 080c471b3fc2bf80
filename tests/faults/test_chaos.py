"""
Requests, faults and changed configurations at once, at random: whatever comes together, who asked gets a verdict, no
component has two generations that start, no listener refuses, a neighbour notices nothing, and at the end nothing of
it is left.

FDPASS_TEST_CHAOS_SEED is what a failure names, and makes the same choices again, if not at the same moments;
FDPASS_TEST_CHAOS_SECONDS is how long it goes on (6).
"""
import os
import random
import re
import signal
import socket
import threading

from testing.broker import DEADLINE, FDPASSD
from testing.load import Load
from testing.process import alive, cgroups, end, fds_at_rest, until
from testing.scene import REQUEST, Scene
from testing.ways import collector, kill_broker  # noqa: F401  (a fixture, too)

SEED = int(os.environ.get("FDPASS_TEST_CHAOS_SEED", "2"))
SECONDS = float(os.environ.get("FDPASS_TEST_CHAOS_SECONDS", "6"))

SHORT = "/bin/sh -c 'sleep 0.15'"
COMMON = "Restart=on-failure\nRestartSec=50ms\nStartLimitIntervalSec=0\nTimeoutStartSec=2s\nTimeoutStopSec=500ms\n"
#: With cgroups of their own: {x} is this process's number.
COMPONENTS = {
    "calm{x}": "Type=notify\n",
    "notify{x}": f"Type=notify\nExecReload={SHORT}\n" + COMMON,
    "healthy{x}": "Type=exec\nHealthCheck=http:/\nHealthCheckIntervalSec=100ms\nHealthCheckTimeoutSec=300ms\n" + COMMON,
    "alone{x}": f"Type=notify\nHandover=stop-first\nExecStartPre={SHORT}\nExecStop={SHORT}\n" + COMMON,
    "three{x}": "Type=notify\nInstances=3\n" + COMMON,
    "asked{x}": "Type=notify\nStart=on-demand\n" + COMMON,
    "part{x}": "Type=notify\nAfter=notify{x}\nRequires=notify{x}\nPartOf=alone{x}\n"
               f"ExecStartPre={SHORT}\nExecStartPost={SHORT}\nExecStopPost={SHORT}\n" + COMMON,
}
#: At rest nobody is to be too slow, however busy the machine is.
IMPATIENT = re.compile("TimeoutStartSec=.*\n|HealthCheckTimeoutSec=.*\n")
WORDS = ["", "", "", "exit=3", "never", "ignore-term", "fork-away", "deaf", "drain=0.2", "kill-self=SIGSEGV",
         "extend=1", "ready-twice", "say=300"]
VERBS = ["RESTART", "RESTART", "START", "STOP", "RELOAD", "PAUSE", "RESUME"]
VERDICTS = {"STOP": {"done", "nothing", "canceled"}, "PAUSE": {"done", "nothing", "canceled"}}


class Chaos:
    def __init__(self, s):
        self.s = s
        self.victims = [name for name in s.components if not name.startswith("calm")]
        self.wrong = []
        self.over = threading.Event()

    def run(self):
        """Who works is told apart by the order of the threads, so that a seed gives each the same choices."""
        seeds = random.Random(SEED)
        work = [self.ask, self.ask, self.break_things, self.watch, self.connect]
        threads = [threading.Thread(target=self.guard, args=[one, random.Random(seeds.random())]) for one in work]
        for thread in threads:
            thread.start()
        self.over.wait(SECONDS)
        self.over.set()
        for thread in threads:
            thread.join()
        assert not self.wrong, f"seed {SEED}: {self.wrong}\n{self.s.broker.log()[-8000:]}"

    def guard(self, work, choices):
        try:
            while not self.over.is_set():
                work(choices)
        except Exception as error:  # pylint: disable=broad-except  (for the report of run())
            self.wrong.append(f"{work.__name__}: {error!r}")
            self.over.set()

    def request(self, verb, names, job):
        """The receipts; asked for again, with the same id, as often as the broker dies."""
        while True:
            try:
                return self.s.job(verb, *names, JOB=job).wait()
            except (ConnectionError, AttributeError):  # the session has ended: no packet
                pass

    def ask(self, choices):
        verb, names = choices.choice(VERBS), choices.sample(self.victims, choices.choice([1, 1, 2, 3]))
        for name in names:
            self.s.do(name, choices.choice(WORDS))
        for name, receipt in self.request(verb, names, f"{choices.getrandbits(60):x}").items():
            assert receipt["verdict"] in VERDICTS.get(verb, {receipt["verdict"]}), (verb, name, receipt)
            if verb == "RESTART" and receipt["verdict"] == "serves":
                assert receipt["generation"] > receipt["generation_before"], (name, receipt)

    def break_things(self, choices):
        what = choices.choice(["broker", "broker", "upgrade", "apply", "program", "program", "program"])
        if what == "broker":
            end(self.status()["broker"]["pid"])
        elif what == "upgrade":
            self.s.broker.fdpass("upgrade", FDPASSD, check=False)  # it may meet another fault
        elif what == "apply":
            self.s.components[self.victims[3]] = f"Type=notify\nInstances={choices.choice([1, 2, 3])}\n" + COMMON
            self.s.apply(check=False)
        else:
            # 0: its ExecStartPre= runs
            pids = [one["pid"] for component in self.status()["components"] for one in component["instances"]
                    if component["name"] in self.victims and one["pid"]]
            number = choices.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
            if pids:
                try:
                    os.kill(choices.choice(pids), number)
                except ProcessLookupError:
                    pass
        self.over.wait(choices.random() * 0.3)

    def watch(self, _):
        for component in self.status()["components"]:
            name, instances = component["name"], component["instances"]
            starting = {one["generation"] for one in instances if one["state"] == "starting"}
            assert len(starting) < 2, f"{name} has {starting} starting: {instances}"
            assert not name.startswith("alone") or len(instances) < 2, f"{name}: {instances}"
        self.over.wait(0.02)

    def connect(self, _):
        """Refused is what no listener may do; served is not what these wait for."""
        for address in self.s.addresses.values():
            with socket.create_connection(address, timeout=DEADLINE):
                pass
        self.over.wait(0.05)

    def status(self):
        while True:
            try:
                with self.s.broker.client(timeout=DEADLINE) as client:
                    client.send("STATUS")
                    if answer := client.receive():
                        return answer.document()
            except ConnectionError:
                pass

    # ---- at rest

    def check_rest(self, about):
        """All do what they are asked, and nothing else is there. What is open, and what lies about."""
        for name in self.victims:
            self.s.do(name, "")
        self.s.components[self.victims[3]] = f"Type=notify\nInstances=3\n{COMMON}"
        configured = dict(self.s.components)
        for name in self.victims:
            self.s.components[name] = IMPATIENT.sub("", configured[name])
        self.s.apply()
        begun = self.request("RESTART", self.victims, f"restart-{about}")
        assert {one["verdict"] for one in begun.values()} == {"serves"}, f"seed {SEED}: {begun}"
        pids = [one["pid"] for component in self.status()["components"] for one in component["instances"]]
        for name in self.victims:
            assert self.s.generation(name) == begun[name]["generation"]
        ended = self.request("STOP", self.victims, f"stop-{about}")
        assert {one["verdict"] for one in ended.values()} == {"done"}, f"seed {SEED}: {ended}"
        assert [alive(pid) for pid in pids].count(True) == 1
        until(lambda: not any(cgroups(name) for name in self.victims), lambda: list(map(cgroups, self.victims)))
        self.s.components.update(configured)
        self.s.apply()
        kill_broker(self.s)
        left = sorted(name for name in os.listdir(self.s.broker.folder) if ".notify-" in name)
        return [fds_at_rest(pid) for pid in self.s.broker.pids()], left


def test_whatever_comes_together(broker, tmp_path):
    components = {name.format(x=os.getpid()): text.format(x=os.getpid()) for name, text in COMPONENTS.items()}
    s = Scene(broker, tmp_path, components)
    calm = next(iter(components))
    chaos = Chaos(s)
    try:
        before = chaos.check_rest("before")
        with Load(s.addresses[calm], threads=1, request=REQUEST) as load:
            chaos.run()
        assert chaos.check_rest("after") == before, f"seed {SEED}"
        assert load.made == load.served and load.longest < 5, f"seed {SEED}: {load}"
        assert s.instances(calm) == {(1, 0): "ready"} and s.component(calm)["restarts"] == 0
    finally:
        s.broker.fdpass("stop", "--all")
