"""The parts of the benchmark that are about components; see parts.py."""
import contextlib
import json
import shutil
import statistics
import subprocess
import time

import parts
from parts import broker, nofile, program
from testing.broker import clean_environment

RESTARTS_A_SECOND = 10
START_UPS_MSEC = (0, 200, 2000)
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

def start_load(address, connections):
    host, port = address
    return subprocess.Popen([program("bench_load"), "--connections", str(connections), "--clients", "64", host, str(port)],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=clean_environment())


def load_to_its_end(one, address, connections, restarts):
    """What the clients saw, with as many restarts meanwhile as there were turns for."""
    process, count, due = start_load(address, connections), 0, time.monotonic()
    try:
        with one.client(timeout=DEADLINE) as client:
            while restarts:
                due = max(due + 1 / RESTARTS_A_SECOND, time.monotonic())
                try:
                    process.wait(due - time.monotonic())
                    break
                except subprocess.TimeoutExpired:
                    restart_once(client, "server")
                    count += 1
        result = json.loads(process.stdout.read())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    return {**result, "restarts": count, "restarts_per_second": count / result["seconds"]}


def rolling(quick, _):
    """
    The same load with and without restarts, in turns, so that what else the machine does falls on both:
    medians over the rounds of the ratio of the two.
    """
    connections, rounds = (20_000, 1) if quick else (200_000, 3)
    result = {}
    for start_up in START_UPS_MSEC[:1] if quick else START_UPS_MSEC:
        config, [address] = parts.tcp_sockets(1)
        config += "NonBlocking=yes\n" + component("server", "s0", start_up)
        runs = {False: [], True: []}
        with broker(config) as one:
            wait_ready(one, 1)
            for _ in range(rounds):
                for restarts in (False, True):
                    runs[restarts].append(load_to_its_end(one, address, connections, restarts))
        row = {key: statistics.median(run[key] for run in runs[True])
               for key in ("per_second", "restarts_per_second", "p50_ns", "p99_ns", "p999_ns")}
        for key in ("p50_ns", "p99_ns", "p999_ns"):
            row[key.replace("_ns", "_ratio")] = statistics.median(
                with_them[key] / without[key] for with_them, without in zip(runs[True], runs[False]))
        for key in ("connections", "refused", "cut", "lost", "failed", "restarts"):
            row[key] = sum(run[key] for run in runs[True])
        row["longest_ns"] = max(run["longest_ns"] for run in runs[True])
        result[str(start_up)] = row
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
