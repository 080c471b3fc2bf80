"""
Keeper and broker are killed and stopped, one, both, one after the other, while commands are under way: in rounds, a
blow each, at random, and after each all is as it was told to be and nothing of it is left.

FDPASS_TEST_CHAOS_SEED is what a failure names, and makes the same choices again, if not at the same moments;
FDPASS_TEST_CHAOS_ROUNDS is how many there are (12, each another blow).
"""
import collections
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from testing.broker import (DEADLINE, FDPASSD, children_of, clean_environment, end_both, free_address,
                            parent_of)
from testing.load import Load
from testing.process import alive, cgroups, end, remove_cgroups, until
from testing.scene import REQUEST, Scene
from testing.ways import Command, collector, zombies  # noqa: F401  (a fixture, too)

pytestmark = pytest.mark.usefixtures("subreaper")

SEED = int(os.environ.get("FDPASS_TEST_CHAOS_SEED", "2"))
ROUNDS = int(os.environ.get("FDPASS_TEST_CHAOS_ROUNDS", "12"))

SHORT = "/bin/sh -c 'sleep 0.05'"
COMMON = "Restart=on-failure\nRestartSec=50ms\nStartLimitIntervalSec=0\nTimeoutStopSec=5s\n"
#: With cgroups of their own: {x} is this process's number. The last one is what changes with the configuration.
COMPONENTS = {
    "calm{x}": "Type=notify\n",
    "notify{x}": f"Type=notify\nExecReload={SHORT}\n" + COMMON,
    "alone{x}": f"Type=notify\nHandover=stop-first\nExecStartPre={SHORT}\nExecReload={SHORT}\nExecStop={SHORT}\n"
                + COMMON,
    "asked{x}": f"Type=notify\nStart=on-demand\nExecReload={SHORT}\nExecStopPost={SHORT}\n" + COMMON,
    "many{x}": f"Type=notify\nExecReload={SHORT}\n" + COMMON + "Instances=2\n",
}
#: What may be the verdict, and what the component is then told to be.
COMMANDS = {
    "start": ({"serves", "nothing"}, "ready"),
    "restart": ({"serves"}, "ready"),
    "reload": ({"done"}, "ready"),
    "stop": ({"done"}, "stopped"),
    "pause": ({"done"}, "paused"),
    "resume": ({"serves", "nothing"}, "ready"),
}
#: Why an upgrade was not: another died of the blow, or its keeper had just died, or it was repeated.
NO_UPGRADE = re.compile(r"could not be executed; fdpassd \S+ carries on|died before it was ready; fdpassd \S+ was "
                        r"started again|an upgrade is under way already")


class Site:
    """What was started as fdpassd, what became of it, and what is there of it."""

    def __init__(self, s):
        self.s = s
        self.process = s.broker.process  # the last that was started; it may have ended
        self.logs = [s.broker.log_path]
        self.commands = []
        #: Held by who has a session, and by who counts. For STATUS the broker counts connections in a child, for up to
        #: half a second where all is busy, and killed at that it takes its time to die: with one after the other there
        #: is hardly a moment without that child and the descriptors of one.
        self.quiet = threading.RLock()

    def log(self):
        text = []
        for path in self.logs:
            with open(path, encoding="utf-8", errors="replace") as file:
                text.append(file.read())
        return "".join(text)

    def start(self):
        """As a supervisor does. True: it is ready; else it has ended, and .process has its status."""
        folder, number = self.s.broker.folder, len(self.logs)
        self.logs.append(os.path.join(folder, f"log{number}"))
        path = os.path.join(folder, f"ready{number}.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, open(self.logs[-1], "wb") as log:
            ready.bind(path)
            ready.settimeout(0.01)
            self.process = subprocess.Popen([FDPASSD, "--config", self.s.broker.config_path, "--log-target", "stderr"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=clean_environment(NOTIFY_SOCKET=path))
            deadline = time.monotonic() + DEADLINE
            while self.process.poll() is None:
                assert time.monotonic() < deadline, f"neither ready nor ended:\n{self.log()}"
                try:
                    if b"READY=1" in ready.recv(4096):
                        return True
                except TimeoutError:
                    pass
        return False

    def supervise(self):
        """Until it is the keeper: the broker may have died while this one was taking over."""
        while not self.start():
            assert self.process.wait() == 1, f"status {self.process.returncode}:\n{self.log()[-4000:]}"

    def command(self, *arguments):
        self.commands.append(Command(self.s, *arguments))
        return self.commands[-1]

    def finish(self, command):
        self.commands.remove(command)
        return command.finish()

    def end(self):
        """As an operator does; what a sanitizer found is in the log."""
        _, keeper = self.pair()
        os.kill(keeper, signal.SIGTERM)
        until(lambda: not self.processes() and not self.served(), self.log)
        self.reap()
        assert "Sanitizer" not in self.log() and "runtime error" not in self.log(), self.log()
        assert not os.path.exists(self.s.broker.control)

    def remove(self):
        """Whatever is left of it after a failure."""
        while left := self.processes() + self.served():
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in filter(alive, left):
                    os.kill(pid, number)
            self.reap()

    # ---- what is there

    def processes(self):
        """All of it that live: broker, keeper, and what comes and goes."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    if self.s.broker.config_path.encode() in file.read().split(b"\0") and alive(pid):
                        found.append(int(pid))
            except OSError:
                pass
        return found

    def served(self):
        """Processes of components, by what is in their environment."""
        wanted = {f"FDPASS_COMPONENT={name}".encode() for name in self.s.components}
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    if wanted.intersection(file.read().split(b"\0")) and alive(pid):
                        found.append(int(pid))
            except OSError:
                pass
        return found

    def reap(self):
        """Whatever became our child by a death, as an init does; not what we started and wait for."""
        ours = {self.process.pid, self.s.broker.process.pid, *(one.process.pid for one in self.commands)}
        for pid in set(zombies(os.getpid())) - ours:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        self.process.poll()

    def broker(self):
        while True:
            try:
                with self.s.broker.client(timeout=DEADLINE) as client:
                    client.send("HELLO")
                    if answer := client.receive():
                        return int(answer["BROKER_PID"])
            except (ConnectionError, FileNotFoundError):
                pass

    def pair(self):
        """Broker and keeper, once nothing else is there."""
        def two():
            self.reap()
            found = self.processes()
            return len(found) == 2 and self.broker() in found and found

        with self.quiet:
            found = until(two, lambda: f"one broker and one keeper: {self.processes()}\n{self.log()[-4000:]}")
        broker = self.broker()
        return broker, next(pid for pid in found if pid != broker)

    def status(self):
        while True:
            try:
                with self.s.broker.client(timeout=DEADLINE) as client:
                    client.send("STATUS")
                    if answer := client.receive():
                        return answer.document()
            except (ConnectionError, FileNotFoundError):
                pass

    def descriptors(self, pid):
        """What it has open, by kind."""
        kinds = collections.Counter()
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                # fdpass-web-2-1.2: a cgroup of the name was there.
                kinds[re.sub(r"\d+(\.\d+)?", "N", os.readlink(f"/proc/{pid}/fd/{fd}"))] += 1
            except OSError:
                pass
        # A keeper that came in place of another has its charge until the broker dies, see keeper/charge.h.
        if kinds["anon_inode:[eventfd]"] == 1:
            del kinds["anon_inode:[eventfd]"]
        # Another log for each that was started, and another program after an upgrade.
        for kind in list(kinds):
            if "/log" in kind or "fdpassd" in kind:
                del kinds[kind]
        return kinds

    def descriptors_at_rest(self, pid):
        """Without those of sessions and children that come and go."""
        fewest, since = self.descriptors(pid), time.monotonic()
        while time.monotonic() < since + 0.3:
            time.sleep(0.005)
            if (found := self.descriptors(pid)).total() < fewest.total():
                fewest, since = found, time.monotonic()
        return fewest


def pause(seconds):
    """The moment is what is tried."""
    threading.Event().wait(seconds)


class Blows:
    """Each method with a name of BLOWS is one. They get the pids of broker and keeper."""

    def __init__(self, site, choices):
        self.site = site
        self.choices = choices

    def some(self, most):
        return self.choices.random() * most

    def keeper_dies_and_is_replaced(self, keeper):
        """
        By one that the broker makes, which has everything: before that, who kills the broker kills both. The broker
        says so, unless it executes another program first, which it does with everything kept, too.
        """
        made = "the keeper died; another one was started"
        said = self.site.log().count(made)

        def has_everything():
            log = self.site.log()
            return log.count(made) > said and re.search("a new keeper has|upgraded in place", log.rpartition(made)[2])

        end(keeper)
        until(has_everything, "another keeper")

    def keeper(self, _, keeper):
        end(keeper)

    def broker(self, broker, _):
        end(broker)

    def keeper_stops(self, _, keeper):
        os.kill(keeper, signal.SIGSTOP)
        pause(self.some(0.3))
        os.kill(keeper, signal.SIGCONT)

    def keeper_is_stopped_and_killed(self, _, keeper):
        os.kill(keeper, signal.SIGSTOP)
        pause(self.some(0.1))
        end(keeper)

    def broker_dies_of_a_stopped_keeper(self, broker, keeper):
        os.kill(keeper, signal.SIGSTOP)
        pause(self.some(0.1))
        end(broker)
        pause(self.some(0.1))
        os.kill(keeper, signal.SIGCONT)

    def keeper_dies_of_a_stopped_broker(self, broker, keeper):
        os.kill(broker, signal.SIGSTOP)
        pause(self.some(0.05))
        end(keeper)
        pause(self.some(0.05))
        os.kill(broker, signal.SIGCONT)

    def keeper_and_once_noticed_broker(self, broker, keeper):
        self.keeper_dies_and_is_replaced(keeper)
        pause(self.some(0.02))
        end(broker)

    def broker_and_once_noticed_keeper(self, broker, keeper):
        end(broker)
        until(lambda: self.site.broker() != broker, "another broker")
        pause(self.some(0.02))
        end(keeper)

    def both_within_moments(self, broker, keeper):
        """One has noticed or has not."""
        first, second = self.choices.sample([broker, keeper], 2)
        os.kill(first, signal.SIGKILL)
        pause(self.some(0.02))
        end(second)

    def both(self, broker, keeper):
        end_both(broker, keeper)

    def keeper_is_replaced_from_outside(self, _, keeper):
        end(keeper)
        pause(self.some(0.02))
        self.site.supervise()

    def broker_while_the_keeper_is_replaced(self, broker, keeper):
        self.keeper_dies_and_is_replaced(keeper)
        thread = threading.Thread(target=lambda seconds=self.some(0.05): (pause(seconds), end(broker)))
        thread.start()
        self.site.supervise()
        thread.join()

    def the_one_that_replaces_the_keeper(self, _, keeper):
        end(keeper)
        pause(self.some(0.02))
        site = self.site
        before = site.process
        thread = threading.Thread(target=lambda seconds=self.some(0.05): (
            until(lambda: site.process is not before, "the start"), pause(seconds), site.process.kill()))
        thread.start()
        site.start()
        thread.join()
        site.process.wait()
        pause(self.some(0.02))
        site.supervise()

    def upgrade(self, *_):
        """Beside the command, whatever that is."""
        one = self.site.command("upgrade", self.choices.choice([FDPASSD, self.site.s.broker.folder + "/fdpassd"]))
        status, _, error = self.site.finish(one)
        assert status == 0 or NO_UPGRADE.search(error), error


#: Those after which nothing need be left of fdpassd.
LOSE = ["both", "both_within_moments"]
BLOWS = ["keeper", "broker", "keeper_stops", "keeper_is_stopped_and_killed", "broker_dies_of_a_stopped_keeper",
         "keeper_dies_of_a_stopped_broker", "keeper_and_once_noticed_broker", "broker_and_once_noticed_keeper",
         "keeper_is_replaced_from_outside", "broker_while_the_keeper_is_replaced", "the_one_that_replaces_the_keeper",
         "upgrade", *LOSE]


class Chaos:
    def __init__(self, s):
        self.s = s
        self.site = Site(s)
        self.record = s.folder / "log"
        self.choices = random.Random(SEED)
        self.blows = Blows(self.site, self.choices)
        self.calm, *self.victims = s.components
        self.changing = self.victims[-1]
        #: What a broker left that lost everything: cgroups, which the next one removes after a minute, and sockets.
        self.stale = set()
        self.usual = {}  # descriptors by process and by who made the keeper
        self.wrong = []
        self.losing = self.over = False
        self.is_new = True
        self.more = free_address()
        self.has_more = False
        self.what = "the start"

    # ---- beside it

    def connect(self):
        """Refused is what no listener may do as long as anybody has it: of the calm one, a server always has."""
        while not self.over:
            for name, address in self.s.addresses.items():
                losing = self.losing
                try:
                    with socket.create_connection(address, timeout=DEADLINE):
                        pass
                except OSError as error:
                    if not (losing or self.losing) or name == self.calm:
                        self.wrong.append(f"{name}: {error!r}")
            pause(0.01)

    def watch(self):
        while not self.over:
            losing = self.losing
            try:
                with self.site.quiet, self.s.broker.client(timeout=DEADLINE) as client:
                    client.send("STATUS")
                    answer = client.receive()
                    components = answer.document()["components"] if answer else []
            except (ConnectionResetError, BrokenPipeError):
                components = []
            except OSError as error:
                components = []
                if not (losing or self.losing):
                    self.wrong.append(f"the control socket: {error!r}")
            for component in components:
                name, instances = component["name"], component["instances"]
                starting = {one["generation"] for one in instances if one["state"] == "starting"}
                if len(starting) > 1 or (name.startswith("alone") and len(instances) > 1):
                    self.wrong.append(f"{name}: {instances}")
            pause(0.02)

    # ---- a round

    def run(self, names):
        threads = [threading.Thread(target=one) for one in (self.connect, self.watch)]
        for thread in threads:
            thread.start()
        try:
            self.at_rest()
            for n, name in enumerate(names):
                self.round(n, name)
            self.what = "an upgrade at last"
            self.check_upgrade()
        except Exception as error:
            self.record.write_text(self.site.log())
            raise AssertionError(f"seed {SEED}, {self.what}: {error}\n{self.site.log()[-6000:]}") from error
        finally:
            self.over = True
            for thread in threads:
                thread.join()

    def round(self, n, blow):
        victim = self.choices.choice(self.victims)
        verb = self.choices.choice([*COMMANDS, "apply", "upgrade"])
        self.what = f"round {n}: {verb} {victim}, {blow}"
        began = time.monotonic()
        pair = broker, keeper = self.site.pair()
        before = self.instances()
        self.losing = blow in LOSE
        command = self.begin(verb, victim)
        pause(self.choices.random() * self.choices.choice([0.01, 0.15]))
        getattr(self.blows, blow)(broker, keeper)
        if self.losing:
            left, stale = self.site.served(), self.cgroups()
            self.recover(pair)
        result = self.site.finish(command)
        is_lost = self.losing and not set(before.values()) & set(self.instances().values())
        if not is_lost:
            self.check_result(verb, victim, result)
            self.check_others(before, victim if verb in COMMANDS else self.changing)
        else:
            self.clear(left)
            self.stale |= stale
        self.is_new = is_lost
        self.at_rest()
        assert not self.wrong, self.wrong
        print(self.what, f"{time.monotonic() - began:.1f} s")

    def begin(self, verb, victim):
        if verb == "upgrade":
            return self.site.command("upgrade", self.choices.choice([FDPASSD, self.s.broker.folder + "/fdpassd"]))
        if verb != "apply":
            return self.site.command(verb, victim)
        before = self.s.components[self.changing]
        number = self.choices.choice([n for n in (1, 2, 3) if not before.endswith(f"={n}\n")])
        self.s.components[self.changing] = before[:-2] + f"{number}\n"
        self.has_more = not self.has_more
        self.write_config()
        return self.site.command("apply", "--allow-close")

    def write_config(self):
        more = f"[Socket more]\nListenStream={self.more[0]}:{self.more[1]}\n"
        self.s.broker.write_config(self.s.config() + (more if self.has_more else ""))

    def recover(self, pair):
        """Somebody noticed, and they are two again; or nobody did, and fdpassd is started anew."""
        def is_decided():
            self.site.reap()
            found = self.site.processes()
            if found and not set(found) & set(pair):
                try:
                    with self.s.broker.client() as client:
                        return client.request("HELLO").ok
                except (OSError, AssertionError):
                    return False  # it is starting, or those are what the broker left, on their way out
            return not found

        until(is_decided, lambda: f"all or nothing: {self.site.processes()} after {pair}\n{self.site.log()[-3000:]}")
        if not self.site.processes():
            assert self.site.start(), f"status {self.site.process.returncode}\n{self.site.log()[-3000:]}"

    # ---- what came of it

    def check_result(self, verb, victim, result):
        status, document, error = result
        if verb == "upgrade":
            assert status == 0 or NO_UPGRADE.search(error), error
        elif verb == "apply":
            assert status == 0 and document["ok"], (status, document, error)
            names = {one["name"] for one in self.site.status()["listeners"]}
            assert ("more" in names) == self.has_more, names
        else:
            receipt = document["components"][0]
            verdicts, state = COMMANDS[verb]
            assert status == 0 and receipt["verdict"] in verdicts, (receipt, error)
            # One that starts on demand waits, after it was started, for those who connect.
            until(lambda: self.s.state(victim) == state, lambda: f"{victim} to be {state}: {self.s.component(victim)}")
            if state in ("stopped", "paused"):
                assert not self.s.component(victim)["instances"]

    def instances(self):
        """Pid by component and generation and index."""
        return {(component["name"], one["generation"], one["index"]): one["pid"]
                for component in self.site.status()["components"] for one in component["instances"]}

    def check_others(self, before, victim):
        """Those that nobody asked for anything are the same processes."""
        others = {place: pid for place, pid in before.items() if place[0] != victim}
        assert {place: pid for place, pid in self.instances().items() if place[0] != victim} == others

    def clear(self, survivors):
        """Of a broker that lost everything: the next one has leases of them and knows nothing else."""
        for pid in filter(alive, survivors):
            os.kill(pid, signal.SIGTERM)
        until(lambda: not any(map(alive, survivors)), lambda: f"{list(filter(alive, survivors))} to end")

    # ---- at rest

    def check_upgrade(self):
        """What is known passes as it is."""
        before = self.known()
        self.s.broker.fdpass("upgrade", FDPASSD)
        after = self.known()
        assert after["broker"] == before["broker"]
        for key in ("listeners", "components"):
            for one, other in zip(before[key], after[key], strict=True):
                assert one == other, f"{set(map(str, one.items())) ^ set(map(str, other.items()))}"
        self.at_rest()

    def known(self):
        document = self.site.status()
        broker = {key: value for key, value in document["broker"].items() if key not in ("since_usec", "sessions")}
        for listener in document["listeners"]:
            for one in listener["sockets"]:
                one.update(queue=None, adopted=None)
        for component in document["components"]:
            for one in component["instances"]:
                one.update(connections=None, adopted=None)
        return {**document, "broker": broker}

    def at_rest(self):
        """All serve, and nothing else is there."""
        self.losing = False
        self.has_more = False
        self.s.components[self.changing] = self.s.components[self.changing][:-2] + "2\n"
        self.write_config()
        self.s.broker.fdpass("apply", "--allow-close")
        begun = self.s.job("START", *self.victims).wait()
        assert {one["verdict"] for one in begun.values()} <= {"serves", "nothing"}, begun
        # Instances are too many; and what keeps lines is made when somebody writes some, as these do when they end.
        if self.is_new or len(self.s.component(self.changing)["instances"]) != 2:
            assert self.s.receipt("RESTART", self.changing)["verdict"] == "serves"
        self.is_new = False
        until(lambda: self.s.state(self.victims[2]) == "ready", "somebody to connect")
        places = self.instances()
        self.check_processes(places)
        self.check_folders(places)

    def check_processes(self, places):
        with self.site.quiet:
            broker, keeper = self.site.pair()
            self.await_errands(broker, keeper, places)
            assert sorted(self.site.served()) == sorted(places.values())
            # One from outside, one that this broker made and waits for, one that made this broker.
            kind = "outside" if keeper == self.site.process.pid else "child" if parent_of(keeper) == broker else "parent"
            for pid, name in ((broker, "broker"), (keeper, "keeper")):
                place = name, kind
                usual = self.usual.get(place) or self.site.descriptors_at_rest(pid)
                self.await_descriptors(pid, usual, place)
                self.usual[place] = usual

    @staticmethod
    def await_errands(broker, keeper, places):
        """
        Until all children are collected but these. The broker has a pidfd of each that was killed until it has died,
        and one that is dying is told neither by its command line nor as a zombie. Where all is busy that can be longer
        than what is usual is looked for, and would become usual.
        """
        known = {broker, keeper, *places.values()}

        def others():
            return set(children_of(broker) + children_of(keeper)) - known

        until(lambda: not others(), lambda: f"{others()} to be collected")

    def await_descriptors(self, pid, usual, about):
        def differ():
            found = self.site.descriptors(pid)
            return f"{about}: too many {dict(found - usual)}, too few {dict(usual - found)}" if found != usual else ""

        until(lambda: not differ(), lambda: min((differ() for _ in range(50)), key=len))

    def check_folders(self, places):
        wanted = {f"broker.sock.notify-{name}.{generation}.{index + 1}" for name, generation, index in places}

        def is_clean():
            there, known = self.sockets() | self.cgroups(), wanted | self.cgroups_of(places)
            return known <= there and there - known <= self.stale

        until(is_clean, lambda: f"{places} to have {self.cgroups() | self.sockets()} without {self.stale}")

    def cgroups(self):
        return {one for name in self.s.components for one in cgroups(name)}

    @staticmethod
    def cgroups_of(places):
        found = set()
        for pid in places.values():
            with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
                path = next((line.strip() for line in file if line.startswith("0::/")), "")
                found.add(path.rpartition("/")[2])
        return {one for one in found if one.startswith("fdpass-")}

    def sockets(self):
        return {name for name in os.listdir(self.s.broker.folder) if ".notify-" in name}


def test_keeper_and_broker_in_every_order(broker, tmp_path):
    components = {name.format(x=os.getpid()): text.format(x=os.getpid()) for name, text in COMPONENTS.items()}
    s = Scene(broker, tmp_path, components)
    shutil.copy(FDPASSD, s.broker.folder)
    chaos = Chaos(s)
    names = []
    while len(names) < ROUNDS:
        names += chaos.choices.sample(BLOWS, len(BLOWS))
    try:
        with Load(s.addresses[chaos.calm], threads=1, request=REQUEST) as load:
            chaos.run(names[:ROUNDS])
        assert load.made == load.served, f"seed {SEED}: {load}"
        chaos.site.end()
    finally:
        chaos.site.remove()
        remove_cgroups(chaos.stale)
