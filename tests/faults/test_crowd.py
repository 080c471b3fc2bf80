"""
Many commands at once that ask for overlapping sets, while the broker is killed, upgraded and configured anew. One
component then has an operation that runs, another that waits, and jobs that joined either, each with its next in order:
what two clients, as in test_chaos.py, never make. After each round every command has come to its end and says the same
by status and by document, the broker answers and is idle, no component is under way, every listener is the socket
that it was, and who starts all has all.

FDPASS_TEST_CROWD_SEED is what a failure names, and makes the same choices again, if not at the same moments;
FDPASS_TEST_CROWD_SECONDS is how long new rounds begin (8).
"""
import os
import random
import socket
import time

import pytest

from testing.broker import DEADLINE, FDPASSD
from testing.client import Client
from testing.process import end, until
from testing.scene import Scene
from testing.ways import Command, collector  # noqa: F401  (a fixture, too)

SEED = int(os.environ.get("FDPASS_TEST_CROWD_SEED", "2"))
SECONDS = float(os.environ.get("FDPASS_TEST_CROWD_SECONDS", "8"))
SOON = 5  # seconds for an answer, on a machine that has other things to do

SLEEP = "Sockets=\nExecStart=/bin/sleep 1000\n"  # on a listener it would have to accept
COMMON = "Restart=on-failure\nRestartSec=50ms\nTimeoutStopSec=500ms\n"
SHORT = "ExecStartPre=/bin/sleep 0.03\n"
#: Called as no other test calls its own: brokers beside each other share a cgroup. In an order, so that jobs have items
#: that wait for others, and slow enough that they meet.
COMPONENTS = {
    "crowd-zero": SLEEP + SHORT + COMMON,
    "crowd-one": SLEEP + SHORT + "After=crowd-zero\n" + COMMON,
    "crowd-two": "Type=notify\nAfter=crowd-one\n" + COMMON,
    "crowd-three": SLEEP + "ExecStartPost=/bin/sleep 0.03\nAfter=crowd-two\nHandover=stop-first\n" + COMMON,
    "crowd-four": SLEEP + SHORT + "After=crowd-three\nRequires=crowd-one\nPartOf=crowd-zero\nInstances=2\n" + COMMON,
    "crowd-five": "Type=notify\n" + SHORT + "ExecStop=/bin/sleep 0.05\nWants=crowd-three\n" + COMMON,
}
COMES_AND_GOES = SLEEP + SHORT + "After=crowd-two\n" + COMMON

GROWING = ["start", "restart", "resume"]
VERBS = GROWING * 2 + ["stop", "pause", "reload"]
GOOD = {"serves", "done", "nothing"}
AT_REST = {"ready", "failed", "stopped", "paused"}


class Asked(Command):
    """`fdpass VERB …`; `what` is for whoever reads of a failure."""

    def __init__(self, s, verb, *arguments):
        super().__init__(s, verb, *arguments)
        self.verb, self.asked = verb, arguments
        self.what = f"fdpass {verb} {' '.join(arguments)}"

    def wait(self):
        """What it was told; None when that is nothing."""
        self.status, document, self.said = self.finish()
        return document

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


class Request:
    """The same as a packet, which is with the broker at once; repeated to the next one, as the command does."""

    def __init__(self, s, verb, *arguments):
        self.verb, self.asked, self.control = verb, arguments, s.broker.control
        self.keys = {"ALL": 1} if "--all" in arguments else {"NAMES": " ".join(arguments)}
        self.keys["JOB"] = f"{id(self):x}-{time.monotonic_ns():x}"
        self.what = f"{verb} {' '.join(arguments)}"
        self.status = self.said = self.client = None
        self.send()

    def send(self):
        self.close()
        self.client = Client(self.control, timeout=DEADLINE)
        self.client.send(self.verb.upper(), **self.keys)

    def wait(self):
        over = time.monotonic() + DEADLINE
        while True:
            assert time.monotonic() < over, f"{self.what}: no verdict in {DEADLINE} s"
            try:
                answer = self.client.receive()
                if not answer:
                    self.send()
                elif answer.first != "EVENT=PROGRESS":
                    break
            except ConnectionError:
                self.send()
        self.said = dict(answer)
        if not answer.ok:
            self.status = {"ENOENT": 6}.get(answer["ERROR"])
            return None
        self.status = 0 if answer["RESULT"] == "good" else 1
        return answer.document()

    def repeat(self):
        """When the broker that heard it is no more."""
        try:
            if self.client.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                return
        except BlockingIOError:
            return
        except ConnectionError:
            pass
        self.send()

    def close(self):
        if self.client:
            self.client.close()


class Crowd:
    def __init__(self, s):
        self.s = s
        self.choices = random.Random(SEED)
        self.commands = []
        self.sockets = self.held()

    def status(self):
        try:
            with self.s.broker.client(timeout=SOON) as client:
                return client.request("STATUS").document()
        except TimeoutError as error:
            raise AssertionError(f"the broker does not answer in {SOON} s") from error

    def held(self):
        return {one["name"]: [each["inode"] for each in one["sockets"]] for one in self.status()["listeners"]}

    def tell(self):
        said = "\n".join(f"{one.what}" for one in self.commands)
        return f"seed {SEED}\n{said}\n{self.s.broker.log()[-8000:]}"

    # ---- a round

    def ask(self, verbs):
        """All, or names, of which one may not be configured by now."""
        some = self.choices.sample([*COMPONENTS, "crowd-guest"], self.choice_of([1, 2, 3]))
        how = Asked if self.choices.random() < 0.1 else Request
        self.commands.append(how(self.s, self.choice_of(verbs), *self.choice_of([["--all"], some])))

    def choice_of(self, several):
        return self.choices.choice(several)

    def apply(self):
        """One component comes, goes or changes."""
        if "crowd-guest" not in self.s.components:
            self.s.components["crowd-guest"] = COMES_AND_GOES
        elif self.choices.random() < 0.5:
            del self.s.components["crowd-guest"]
        more = self.choice_of(["", "After=crowd-one\n", "Instances=3\n"])
        self.s.components["crowd-five"] = COMPONENTS["crowd-five"] + more
        self.s.broker.write_config(self.s.config())
        return Asked(self.s, "apply")

    def strike(self):
        if self.choices.random() < 0.7:
            pid = self.status()["broker"]["pid"]
            end(pid)
        else:
            self.s.broker.fdpass("upgrade", FDPASSD)

    def round(self):
        growing = self.choices.random() < 0.7
        sick = not growing and self.choices.random() < 0.3
        applied = None
        self.s.do("crowd-two", "exit=3" if sick else "")
        for _ in range(self.choice_of([2, 4, 8])):
            for _ in range(self.choice_of([0, 5, 10])):
                self.ask(GROWING if growing else VERBS)
            if not growing and self.choices.random() < 0.3 and not applied:
                applied = self.apply()
            time.sleep(self.choices.random() * self.choice_of([0.02, 0.2]))  # any moment is as good as another
            self.strike()
            for one in self.commands:
                if isinstance(one, Request):
                    one.repeat()
        for one in self.commands:
            self.check(one, one.wait(), growing, sick)
        if applied:
            answer = applied.wait()
            assert applied.status == 0 and answer["ok"], (answer, applied.said)
        self.s.do("crowd-two", "")

    # ---- after it

    @staticmethod
    def check(one, document, growing, sick):
        about = f"{one.what}: {one.status}, {document}, {one.said}"
        if document is None:
            assert one.status == 6 and "crowd-guest" in one.asked, about
            return
        assert one.status == (0 if document["result"] == "good" else 1), about
        told = {each["name"]: each for each in document["components"]}
        bad = [each for each in told.values() if each["verdict"] not in GOOD]
        expands = one.verb in ("start", "resume")  # what comes with those that were asked for does not count
        assert bool([each for each in bad if each["asked_for"] or not expands]) == (one.status == 1), about
        for each in bad:
            if growing:  # only a start that waits for its turn gives way, to a restart
                assert each["verdict"] == "skipped" or \
                    one.verb != "restart" and "asked for later" in each["reason"], about
            elif not sick and each["verdict"] not in ("canceled", "skipped"):
                assert one.verb == "reload" or "configured" in each["reason"], about

    def at_rest(self):
        return all(one["state"] in AT_REST for one in self.status()["components"])

    def is_idle(self):
        pid = self.status()["broker"]["pid"]
        before, since = self.used_ns(pid), time.monotonic()
        time.sleep(0.1)
        return self.used_ns(pid) - before < 0.05 * 1e9 * (time.monotonic() - since)

    @staticmethod
    def used_ns(pid):
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[0])

    def check_rest(self):
        until(self.at_rest, lambda: f"components to be at rest: {self.status()['components']}")
        until(self.is_idle, "an idle broker")
        assert self.held() == self.sockets
        last = Asked(self.s, "start", "--all")
        document = last.wait()
        assert last.status == 0 and document["result"] == "good", (document, last.said)
        states = {one["name"]: one["state"] for one in self.status()["components"]}
        assert states == dict.fromkeys(self.s.components, "ready"), states

    def run(self):
        over = time.monotonic() + SECONDS
        rounds = 0
        try:
            while time.monotonic() < over:
                self.commands = []
                self.round()
                self.check_rest()
                rounds += 1
        except (AssertionError, OSError) as error:
            raise AssertionError(f"round {rounds}: {error!r}\n{self.tell()}") from error
        finally:
            for one in self.commands:
                one.close()
        print(f"seed {SEED}: {rounds} rounds")


@pytest.mark.alone
def test_whatever_many_ask_for_at_once(broker, tmp_path):
    s = Scene(broker, tmp_path, {**COMPONENTS, "crowd-guest": COMES_AND_GOES})
    Crowd(s).run()
