"""The parts of the benchmark: each starts what it needs, measures, and gives back a dictionary."""
import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import time

from testing.broker import Broker, clean_environment, free_address, private_folder

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
                                 "--clients", "64", host, str(port)],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=clean_environment())
        try:
            restarts = kill_and_start(load, lambda: start_server(one, "s0"))
            result = json.loads(load.stdout.read())
        finally:
            load.kill()
            load.wait()
            load.stdout.close()
    return {**result, "restarts": restarts, "restarts_per_second": restarts / result["seconds"]}


# ---- idle -----------------------------------------------------------------------------------------

def process_status(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def wake_ups(pid):
    status = process_status(pid)
    return int(status["voluntary_ctxt_switches"]) + int(status["nonvoluntary_ctxt_switches"])


def rss_bytes(pid):
    return int(process_status(pid)["VmRSS"].split()[0]) * 1024


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
        self.result = {"listeners": count, "sessions": count, "rss_fresh_bytes": rss_bytes(self.broker.pid)}
        for i in range(count):
            client = stack.enter_context(self.broker.client())
            client.acquire(f"s{i}").close()
        # It answered the last request before it went to sleep: let it.
        time.sleep(0.5)
        self.begin = time.monotonic()
        self.before = wake_ups(self.broker.pid)

    def read(self):
        time.sleep(max(0, self.begin + self.seconds - time.monotonic()))
        return {**self.result, "seconds": time.monotonic() - self.begin,
                "wake_ups": wake_ups(self.broker.pid) - self.before, "rss_bytes": rss_bytes(self.broker.pid)}


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
    return one, {"seconds_to_ready": time.monotonic() - begin, "rss_bytes": rss_bytes(one.pid)}


def scale(quick, cpu):
    # The broker keeps half of its descriptors for listeners.
    most = nofile() // 2 - 64
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
