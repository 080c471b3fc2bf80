"""The parts of the benchmark that are about components; see parts.py."""
import array
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import time

import parts
from parts import broker, nofile, program
from testing.broker import clean_environment

RESTARTS_A_SECOND = 10
#: Start-up time in ms; components, enough of them that each is done when its turn comes again; how often the TURNS
#: are taken, and for how many seconds each: short ones, because what else a machine does comes and goes within seconds.
ROLLING = ((0, 1, 24, 0.5), (200, 4, 24, 0.5), (2000, 24, 6, 2.0))
#: Seconds until load or restarts go their way.
SETTLE = 0.2
DEADLINE = 60


def component(name, sockets, start_up_msec=0):
    return (f"[Component {name}]\nSockets={sockets}\nType=notify\n"
            f"ExecStart={program('bench_server')} {start_up_msec}\n")


def wait_ready(one, count):
    end = time.monotonic() + DEADLINE
    while sum(c["state"] == "ready" for c in one.status()["components"]) < count:
        if time.monotonic() > end:
            raise SystemExit(f"components: not ready within {DEADLINE} s:\n{one.log()[-2000:]}")
        time.sleep(0.2)


def restart_once(client, name):
    """The receipt; the answer comes when the old generation has drained."""
    client.send("RESTART", NAMES=name)
    while True:
        answer = client.receive()
        if not answer.first.startswith("EVENT="):
            document = answer.document()
            if answer["RESULT"] != "good":
                raise SystemExit(f"components: {document}")
            return document["components"][0]
        answer.close()


# ---- restarts under load --------------------------------------------------------------------------

class Told:
    """A program that is told line by line what to do. In a session of its own, as clients and managers are."""

    def __init__(self, *command):
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, env=clean_environment(), start_new_session=True)

    def tell(self, *words):
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.process.stdin.flush()

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[0]}: ended, see above")
        return line.decode().strip()

    def end(self):
        """What it says at the end of its input."""
        self.process.stdin.close()
        said = self.process.stdout.read()
        if self.process.wait(DEADLINE) != 0:
            raise SystemExit(f"{self.process.args[0]}: ended with status {self.process.returncode}, see above")
        return said

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """By the end of its input, so that it ends what it has started."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Side:
    """Some servers, and who restarts them."""

    def __init__(self, first, count, restarts, pids):
        self.first, self.count, self.restarts, self.pids = first, count, restarts, pids
        self.begun, self.seconds, self.processor_seconds = 0, 0.0, 0.0
        restarts.line()

    def processor(self):
        return sum(parts.processor_seconds(pid) for pid in self.pids)

    def begin(self):
        self.begin_time, self.begin_processor = time.monotonic(), self.processor()
        self.restarts.tell("begin")

    def end(self):
        """Waits for those that are under way."""
        self.seconds += time.monotonic() - self.begin_time
        self.restarts.tell("end")
        self.begun += int(self.restarts.line())
        self.processor_seconds += self.processor() - self.begin_processor


#: What is measured by turns, on which side and with restarts or not; the other way round every second time.
TURNS = (("before", "fdpass", False), ("restarts", "fdpass", True), ("after", "fdpass", False),
         ("bare", "bare", False), ("bare_restarts", "bare", True))


def measure_turn(load, number, side, restarts, seconds, settle):
    """Slice 0 is for what is not measured: until as many restarts are under way as there will be, and until none is."""
    load.tell(0, side.first, side.count)
    if restarts:
        side.begin()
    time.sleep(settle if restarts else SETTLE)
    load.tell(number, side.first, side.count)
    time.sleep(seconds)
    load.tell(0, side.first, side.count)
    if restarts:
        side.end()


def read_samples(path, slices):
    """Durations, slice after slice."""
    with open(path, "rb") as file:
        for one in slices:
            samples = array.array("I")
            samples.fromfile(file, one["answered"])
            yield samples


def quantiles(samples):
    ordered = sorted(samples)
    return {name: ordered[len(ordered) * per_mille // 1000] for name, per_mille in
            (("p50_ns", 500), ("p99_ns", 990), ("p999_ns", 999))}


def ratios(above, below):
    return {key.replace("_ns", ""): above[key] / below[key] for key in above}


def evaluate(slices, samples, rounds, sides):
    """Durations of all rounds together for each kind of turn, and their ratios."""
    of = {turn[0]: array.array("I") for turn in TURNS}
    names = ["", *[turn[0] for one in range(rounds) for turn in turns_of(one)]]
    for name, more in zip(names, samples):
        if name:
            of[name] += more
    q = {name: quantiles(all_of_it) for name, all_of_it in of.items()}
    q["without"] = quantiles(of["before"] + of["after"])
    fdpass = [one for name, one in zip(names, slices) if name in ("before", "restarts", "after")]
    return {
        "connections": sum(one["connections"] for one in slices),
        "per_second": sum(one["connections"] for one in fdpass) / sum(one["seconds"] for one in fdpass),
        **{key: sum(one[key] for one in slices) for key in ("refused", "cut", "lost", "failed")},
        "longest_ns": max(one["longest_ns"] for name, one in zip(names, slices) if name == "restarts"),
        **{f"{name}_restarts_per_second": side.begun / side.seconds for name, side in sides.items()},
        "restarts": sides["fdpass"].begun,
        "processor_seconds": sides["fdpass"].processor_seconds / max(1, sides["fdpass"].begun),
        "without": q["without"], "with": q["restarts"], "ratio": ratios(q["restarts"], q["without"]),
        "ratio_of_nothing": ratios(q["after"], q["before"]), "ratio_of_bare": ratios(q["bare_restarts"], q["bare"]),
    }


def turns_of(number):
    return TURNS if number % 2 == 0 else TURNS[::-1]


def rolling_with(start_up, count, rounds, seconds, stack):
    config, addresses = parts.tcp_sockets(count)
    config += "".join(component(f"c{i}", f"s{i}", start_up) for i in range(count))
    config = config.replace("Backlog=", "NonBlocking=yes\nBacklog=")
    addresses = [f"{host}:{port}" for host, port in addresses + [parts.free_address() for _ in range(count)]]
    folder = parts.path_folder()
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    one = stack.enter_context(broker(config, folder=folder, wrapper=["setsid"]))
    wait_ready(one, count)
    restarts = (program("bench_restarts"), "--rate", RESTARTS_A_SECOND)
    by_broker = stack.enter_context(Told(*restarts, "--broker", one.control, *(f"c{i}" for i in range(count))))
    bare = stack.enter_context(Told(*restarts, "--bare", *addresses[count:], "--", program("bench_server"), start_up))
    sides = {"fdpass": Side(0, count, by_broker, parts.processes(one)[:2]), "bare": Side(count, count, bare, [])}
    samples_path = os.path.join(folder, "samples")
    load = stack.enter_context(Told(program("bench_load"), "--connections", 10_000_000, "--clients", 64, "--slices",
                                    1 + rounds * len(TURNS), "--samples", samples_path, *addresses))
    settle = SETTLE + start_up / 1000
    for number in range(rounds):
        for turn, (_, side, restarts) in enumerate(turns_of(number)):
            measure_turn(load, 1 + number * len(TURNS) + turn, sides[side], restarts, seconds, settle)
    slices = json.loads(load.end())
    bare.end()
    return evaluate(slices, read_samples(samples_path, slices), rounds, sides)


def rolling(quick, _):
    """
    The same load with and without restarts, in short turns, so that what else the machine does falls on
    all alike.
    """
    result = {}
    for start_up, count, rounds, seconds in ROLLING[:1] if quick else ROLLING:
        rounds, seconds = (1, 0.3) if quick else (rounds, seconds)
        with contextlib.ExitStack() as stack:
            result[str(start_up)] = {"components": count, **rolling_with(start_up, count, rounds, seconds, stack)}
    return result


# ---- many -----------------------------------------------------------------------------------------

def restart_all(one):
    """Seconds that it takes, and the longest that another client waits for HELLO meanwhile."""
    begin, longest, asked = time.monotonic(), 0, True
    with one.client(timeout=DEADLINE) as client, one.client(timeout=DEADLINE) as other:
        client.send("RESTART", ALL=1)
        client.socket.setblocking(False)
        while asked:
            sent = time.monotonic()
            other.request("HELLO").close()
            longest = max(longest, time.monotonic() - sent)
            with contextlib.suppress(BlockingIOError):
                while asked:
                    answer = client.receive()
                    asked = answer.first.startswith("EVENT=")
                    answer.close()
    return {"restart_all_seconds": time.monotonic() - begin, "longest_hello_seconds": longest}


def many_once(count, seconds, restarts, stack):
    folder = parts.path_folder()
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    config = parts.unix_sockets(count, folder).replace("Backlog=", "NonBlocking=yes\nBacklog=") + \
        "".join(component(f"c{i}", f"s{i}") for i in range(count))
    begin = time.monotonic()
    one = stack.enter_context(broker(config, nofile=nofile()))
    wait_ready(one, count)
    row = {"components": count, "seconds_to_ready": time.monotonic() - begin}
    took, ready = [], []
    with one.client(timeout=DEADLINE) as client:
        for turn in range(restarts):
            begin = time.monotonic()
            receipt = restart_once(client, f"c{turn % count}")
            took.append(time.monotonic() - begin)
            ready.append(receipt["ready_ms"] / 1000)
    row |= restart_all(one)
    time.sleep(0.5)  # it answered before it went to sleep: let it
    pids = parts.processes(one)[:2]
    before = [parts.wake_ups(pid) for pid in pids]
    time.sleep(seconds)
    after = [parts.wake_ups(pid) for pid in pids]
    row |= {"seconds": seconds, "wake_ups": sum(after) - sum(before), "restart_seconds": statistics.median(took),
            "longest_restart_seconds": max(took), "ready_seconds": statistics.median(ready), "restarts": restarts}
    row["rss_bytes"], row["pss_bytes"] = memory_bytes(pids)
    return row


def memory_bytes(pids):
    """Of these processes: (resident, resident with shared pages counted by share)."""
    total = {"Rss": 0, "Pss": 0}
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key in total:
                    total[key] += int(value.split()[0]) * 1024
    return total["Rss"], total["Pss"]


def many(quick, _):
    """One at a time: a thousand programs that end at once would slow the other's start."""
    result = {}
    for count in (1, 50) if quick else (1, 1000):
        with contextlib.ExitStack() as stack:
            result[str(count)] = many_once(count, 1 if quick else 10, 5 if quick else 20, stack)
    return result
