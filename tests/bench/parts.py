"""The parts of the benchmark: each starts what it needs, measures, and gives back a dictionary."""
import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

from testing.broker import Broker, clean_environment, free_address, private_folder
from testing.client import Client

PROGRAMS = os.path.join(os.environ["BUILD"], "tests", "bench")
FDPASS = os.environ["FDPASS"]
RESTARTS_A_SECOND = 10
#: Enough for 10,000 listeners beside the broker's own needs; more than usual shells allow.
NOFILE = 65536


def program(name):
    return os.path.join(PROGRAMS, name)


def pinned(cpu):
    return ["taskset", "--cpu-list", str(cpu)]


def run_json(*command):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          env=clean_environment(), check=True, timeout=300)
    return json.loads(done.stdout)


def tcp_sockets(count):
    """[Socket s0] ... with an address each, of this run's own."""
    addresses = [free_address() for _ in range(count)]
    text = "".join(f"[Socket s{i}]\nListenStream={host}:{port}\nBacklog=4096\n"
                   for i, (host, port) in enumerate(addresses))
    return text, addresses


def path_folder():
    """In memory, as /run is: making ten thousand files on a disk is not what is measured."""
    return tempfile.mkdtemp(prefix="fdpass-", dir="/dev/shm") if os.path.isdir("/dev/shm") else private_folder()


def unix_sockets(count, folder):
    return "".join(f"[Socket s{i}]\nListenStream={folder}/s{i}.sock\nBacklog=4096\n" for i in range(count))


@contextlib.contextmanager
def broker(config, **kwargs):
    one = Broker(config, **kwargs)
    try:
        yield one
        one.stop()
    finally:
        one.remove()


@contextlib.contextmanager
def server(command, **kwargs):
    """A program that writes a line when it is ready."""
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               env=clean_environment(), **kwargs)
    try:
        if not process.stdout.readline():
            raise SystemExit(f"{command[-1]}: did not start, see above")
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# ---- acquire --------------------------------------------------------------------------------------

def s6_rules(folder):
    """Everything for this uid: s6-fdholderd allows nothing of itself."""
    rules = os.path.join(folder, "rules")
    env = os.path.join(rules, "uid", str(os.getuid()), "env")
    os.makedirs(env)
    open(os.path.join(os.path.dirname(env), "allow"), "w", encoding="ascii").close()
    for name in ("STORE", "RETRIEVE"):
        with open(os.path.join(env, f"S6_FDHOLDER_{name}_REGEX"), "w", encoding="ascii") as file:
            file.write(".*")
    return rules


def s6_holder(folder, cpu, stack):
    """s6-fdholderd with a stored listener s0, or None where it is not installed."""
    if not shutil.which("s6-fdholder-daemon") or not shutil.which("s6-fdholder-store"):
        return None
    path = os.path.join(folder, "s6.sock")
    stack.enter_context(server([*pinned(cpu), "s6-fdholder-daemon", "-1", "-i", s6_rules(folder), path]))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        subprocess.run(["s6-fdholder-store", path, "s0"], stdin=listener, check=True, env=clean_environment())
    return path


def has_s6_client():
    with open(program("bench_acquire"), "rb") as file:
        return b"s6_fdholder_retrieve" in file.read()


def acquire(quick, cpu):
    config, _ = tcp_sockets(1)
    amounts = ["--rounds", 3, "--acquires", 1000, "--connects", 300, "--milliseconds", 30] if quick else \
        ["--rounds", 25, "--acquires", 5000, "--connects", 2000, "--milliseconds", 150]
    folder = private_folder()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        bare = os.path.join(folder, "bare.sock")
        stack.enter_context(server([*pinned(cpu), program("bench_bare"), bare]))
        fdpass = stack.enter_context(broker(config, wrapper=pinned(cpu)))
        servers = [f"bare=packet:{bare}", f"fdpass=packet:{fdpass.control}", f"libfdpass=library:{fdpass.control}"]
        s6 = s6_holder(folder, cpu, stack) if has_s6_client() else None
        if s6:
            servers.append(f"s6=s6:{s6}")
        return run_json(program("bench_acquire"), "--json", "--name", "s0", "--cpu", cpu, *amounts, *servers)


# ---- restart --------------------------------------------------------------------------------------

def start_server(one, name):
    return subprocess.Popen([FDPASS, "exec", name, "--", program("bench_server")], stdin=subprocess.DEVNULL,
                            env=one.environment())


def kill_and_start(load, start):
    """Ten times a second, on a clock of its own, until the load has ended. How often."""
    current, restarts, due = start(), 0, time.monotonic()
    try:
        while True:
            due += 1 / RESTARTS_A_SECOND
            try:
                load.wait(max(0, due - time.monotonic()))
                return restarts
            except subprocess.TimeoutExpired:
                pass
            current.kill()
            current.wait()
            current = start()
            restarts += 1
    finally:
        current.kill()
        current.wait()


def restart(quick, cpu):
    config, [(host, port)] = tcp_sockets(1)
    with broker(config) as one:
        load = subprocess.Popen([program("bench_load"), "--connections", str(30_000 if quick else 1_000_000),
                                 "--clients", "64", f"{host}:{port}"],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=clean_environment())
        try:
            restarts = kill_and_start(load, lambda: start_server(one, "s0"))
            result = json.loads(load.stdout.read())
        finally:
            load.kill()
            load.wait()
            load.stdout.close()
    return {**result, "restarts": restarts, "restarts_per_second": restarts / result["seconds"]}


# ---- the two processes ----------------------------------------------------------------------------

def processes(one):
    """The pids of keeper and broker. What was started is the keeper, and the broker is its child."""
    with open(f"/proc/{one.pid}/task/{one.pid}/children", encoding="ascii") as file:
        return [one.pid, *map(int, file.read().split())]


def broker_pid(one):
    return processes(one)[-1]


def process_status(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def wake_ups(pid):
    status = process_status(pid)
    return int(status["voluntary_ctxt_switches"]) + int(status["nonvoluntary_ctxt_switches"])


def memory_bytes(one):
    """Of keeper and broker together: (resident, resident with shared pages counted by share)."""
    total = {"Rss": 0, "Pss": 0}
    for pid in processes(one):
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key in total:
                    total[key] += int(value.split()[0]) * 1024
    return total["Rss"], total["Pss"]


def rss_bytes(one):
    return memory_bytes(one)[0]


# ---- idle -----------------------------------------------------------------------------------------

class Idle:
    """
    A broker with sessions and leases that nobody uses. Started first and read last, so that it is
    idle for as long as all else takes: what wakes once a minute would be seen.
    """

    def __init__(self, quick, stack):
        count = 100 if quick else 1000
        self.seconds = 3 if quick else 65
        config, _ = tcp_sockets(count)
        self.broker = stack.enter_context(broker(config, nofile=nofile()))
        self.result = {"listeners": count, "sessions": count, "rss_fresh_bytes": rss_bytes(self.broker)}
        for i in range(count):
            client = stack.enter_context(self.broker.client())
            client.acquire(f"s{i}").close()
        # It answered the last request before it went to sleep: let it.
        time.sleep(0.5)
        self.begin = time.monotonic()
        self.before = self.wake_ups()

    def wake_ups(self):
        return sum(wake_ups(pid) for pid in processes(self.broker))

    def read(self):
        time.sleep(max(0, self.begin + self.seconds - time.monotonic()))
        return {**self.result, "seconds": time.monotonic() - self.begin,
                "wake_ups": self.wake_ups() - self.before, "rss_bytes": rss_bytes(self.broker)}


# ---- scale ----------------------------------------------------------------------------------------

def nofile():
    """The hard limit that a broker gets here, raised for it where that is allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < NOFILE:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, NOFILE))
    return min(NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def timed_broker(count, cpu, stack):
    config, _ = tcp_sockets(count)
    begin = time.monotonic()
    one = stack.enter_context(broker(config, nofile=nofile(), wrapper=pinned(cpu)))
    return one, {"seconds_to_ready": time.monotonic() - begin, "rss_bytes": rss_bytes(one)}


def scale(quick, cpu):
    # The broker keeps a quarter of its descriptors for other things than listeners.
    most = nofile() * 3 // 4 - 128
    counts = [min(count, most) for count in ((10, 1000) if quick else (10, 1000, 10_000))]
    amounts = ["--rounds", 3, "--acquires", 500, "--connects", 200] if quick else \
        ["--rounds", 15, "--acquires", 3000, "--connects", 1000]
    result = {}
    with contextlib.ExitStack() as stack:
        servers = []
        for count in counts:
            one, result[str(count)] = timed_broker(count, cpu, stack)
            servers.append(f"{count}=packet:{one.control}")
        figures = run_json(program("bench_acquire"), "--json", "--name", "s7", "--cpu", cpu, "--clients", 0,
                           *amounts, *servers)
    smallest = result[str(counts[0])]
    for count in counts:
        row = result[str(count)]
        row.update(figures[str(count)])
        if count > counts[0]:
            row["rss_per_listener_bytes"] = (row["rss_bytes"] - smallest["rss_bytes"]) / (count - counts[0])
    return result


# ---- survive --------------------------------------------------------------------------------------

def processor_seconds(pid):
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0]) / 1e9


def time_answers(one):
    """
    Seconds until a new connection has been answered HELLO, then ACQUIRE, then STATUS, and how many of
    them the new broker was running until the first, which says more when others run too; the
    socket's inode.
    """
    begin = time.monotonic()
    with Client(one.control, timeout=30) as client:
        client.request("HELLO").close()
        hello = time.monotonic()
        processor = processor_seconds(broker_pid(one))
        with client.acquire("s7") as listener:
            acquired = time.monotonic()
            inode = os.fstat(listener.fileno()).st_ino
        client.request("STATUS").close()
        return {"hello_seconds": hello - begin, "acquire_seconds": acquired - begin,
                "status_seconds": time.monotonic() - begin, "processor_seconds": processor}, inode


def socket_inode(one, name):
    with one.client() as client, client.acquire(name) as listener:
        return os.fstat(listener.fileno()).st_ino


def survive_once(config):
    """
    A pair of its own for each kill: one that dies soon after the last time is not started again at
    once, and that is not what is asked.
    """
    begin = time.monotonic()
    with broker(config, nofile=nofile()) as one:
        ready = time.monotonic() - begin
        fresh = memory_bytes(one)
        before = socket_inode(one, "s7")
        os.kill(broker_pid(one), signal.SIGKILL)
        answers, inode = time_answers(one)
        one.wait_notify("READY=1")
        if inode != before:
            raise SystemExit("survive: the socket of s7 is not the same after the kill")
        after = memory_bytes(one)
    return {"seconds_to_ready": ready, **answers, "rss_bytes": fresh[0], "pss_bytes": fresh[1],
            "rss_after_bytes": after[0], "pss_after_bytes": after[1]}


def survive_rounds(config, rounds):
    runs = [survive_once(config) for _ in range(rounds)]
    return {**{key: statistics.median(run[key] for run in runs) for key in runs[0]},
            "longest_acquire_seconds": max(run["acquire_seconds"] for run in runs), "rounds": rounds}


def with_many(quick, measure):
    """`measure(config, rounds)` of brokers with few and many listeners, of TCP and of Unix paths."""
    result = {}
    for count in (10, 1000) if quick else (10, 1000, 10_000):
        rounds = 1 if quick else 5 if count == 10_000 else 11
        result[f"{count} TCP"] = {"listeners": count, **measure(tcp_sockets(count)[0], rounds)}
        folder = path_folder()
        try:
            result[f"{count} Unix"] = {"listeners": count, **measure(unix_sockets(count, folder), rounds)}
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return result


def survive(quick, _):
    return with_many(quick, survive_rounds)


# ---- upgrade --------------------------------------------------------------------------------------

def upgrade_by_hand(one):
    """
    Seconds of the trial, from UPGRADE to its answer, and of the gap: the session ends with the exec, and
    from then on a client waits until the new program answers its ACQUIRE.
    """
    begin = time.monotonic()
    with Client(one.control, timeout=30) as client:
        answer = client.request("UPGRADE")
        assert answer.ok, answer
        tried = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            client.receive()
    executed = time.monotonic()
    with Client(one.control, timeout=30) as client, client.acquire("s7"):
        return {"trial_seconds": tried - begin, "gap_seconds": time.monotonic() - executed}


def upgrade_by_command(one):
    done = subprocess.run([FDPASS, "--json", "upgrade"], env=one.environment(), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, check=True, timeout=60)
    return {"command_seconds": json.loads(done.stdout)["took_usec"] / 1e6}


def upgrade_rounds(config, rounds):
    runs = []
    with broker(config, nofile=nofile()) as one:
        before = socket_inode(one, "s7")
        for _ in range(rounds):
            run = {}
            for how in (upgrade_by_hand, upgrade_by_command):
                one.notifications.clear()
                run |= how(one)
                one.wait_notify("READY=1")
            runs.append(run)
        if socket_inode(one, "s7") != before:
            raise SystemExit("upgrade: the socket of s7 is not the same")
    return {**{key: statistics.median(run[key] for run in runs) for key in runs[0]},
            "longest_gap_seconds": max(run["gap_seconds"] for run in runs), "rounds": rounds}


def upgrade(quick, _):
    return with_many(quick, upgrade_rounds)
