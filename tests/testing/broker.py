"""Start the built fdpassd and wait, without sleeping, until it says that it is ready."""
import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from .client import Client

FDPASSD = os.environ.get("FDPASSD", "build/plain/broker/fdpassd/fdpassd")
FDPASS = os.environ.get("FDPASS", "build/plain/broker/cli/fdpass")
DEADLINE = 30

#: What a test may not inherit from whoever runs it.
UNWANTED = ("LISTEN_", "NOTIFY_SOCKET", "FDPASS_", "WATCHDOG_", "JOURNAL_STREAM", "XDG_", "INVOCATION_ID")


def clean_environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith(UNWANTED)}
    env["LC_ALL"] = "C.UTF-8"
    env.update({k: str(v) for k, v in more.items()})
    return env


def private_folder():
    """A new folder with a short name: a Unix socket's path has at most 107 bytes."""
    folder = tempfile.mkdtemp(prefix="fdpass-", dir="/tmp")
    os.chmod(folder, 0o755)
    return folder


_hosts = iter(range(1, 1 << 16))


def free_address():
    """
    HOST, PORT that nobody has. The kernel gives the port; the host is a loopback address of this
    process's own, which no outgoing connection on this machine uses as its source, so the port stays
    free between the probe and the broker's bind.
    """
    number = next(_hosts)
    host = f"127.{64 + os.getpid() % 128}.{number >> 8 & 255}.{number & 255}"
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()


def memory_is_measurable():
    """A sanitizer keeps what was freed, and a shadow of everything."""
    with open(FDPASSD, "rb") as file:
        return b"__asan_init" not in file.read()


def program_of(pid):
    """What it executes; None when there is no such process, or none that we may look at."""
    try:
        found = os.stat(f"/proc/{pid}/exe")
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_worker(pid):
    """A child that the broker keeps for its errands."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read() == "fdpass-worker\n"
    except OSError:
        return False


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]
    except OSError:
        return []


def end_both(broker, keeper):
    """Neither gets to start the other again: the keeper is stopped first, then both are killed."""
    fds = [os.pidfd_open(pid) for pid in (keeper, broker) if pid and program_of(pid)]
    try:
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for fd in fds:
                signal.pidfd_send_signal(fd, number)
        for fd in fds:
            assert select.select([fd], [], [], DEADLINE)[0], "SIGKILL does not end it"
    finally:
        for fd in fds:
            os.close(fd)


class StartFailed(Exception):
    """fdpassd ended before it was ready; status and log say why."""

    def __init__(self, status, log):
        super().__init__(f"fdpassd ended with status {status}:\n{log}")
        self.status = status
        self.log = log


class Broker:
    """
    A broker of its own: folder, configuration, control socket. `config` is the text of fdpass.conf;
    [Broker] ControlSocket= is put in front unless it is there.
    """

    def __init__(self, config, *, folder=None, control=None, user=None, env=None, nofile=None, stderr=None,
                 arguments=(), wrapper=(), program=None):
        self.own_folder = folder is None
        self.folder = folder or private_folder()
        self.control = control or os.path.join(self.folder, "broker.sock")
        self.config_path = os.path.join(self.folder, "fdpass.conf")
        self.log_path = os.path.join(self.folder, "log")
        self.write_config(config)
        self.program = program or FDPASSD
        self.process = None
        self.notifications = []
        try:
            self._start(user, env or {}, nofile, stderr, list(arguments), list(wrapper))
        except BaseException:
            self.remove()
            raise

    def write_config(self, config):
        if "ControlSocket=" not in config:
            config = f"[Broker]\nControlSocket={self.control}\n" + config.replace("[Broker]\n", "", 1) \
                if config.startswith("[Broker]\n") else f"[Broker]\nControlSocket={self.control}\n{config}"
        with open(self.config_path, "w", encoding="utf-8") as file:
            file.write(config)

    def _start(self, user, env, nofile, stderr, arguments, wrapper):
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify_path = os.path.join(self.folder, "notify.sock")
        self.notify.bind(notify_path)
        os.chmod(notify_path, 0o777)

        def limit():
            if nofile:
                resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))

        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [*wrapper, self.program, "--config", self.config_path, "--log-target", "stderr", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=stderr or log, preexec_fn=limit,
                user=user, group=user, extra_groups=[] if user else None,
                env=clean_environment(NOTIFY_SOCKET=notify_path, **env))
        self.wait_notify("READY=1")

    def wait_notify(self, wanted):
        """Wait for an assignment from the broker; what came is in .notifications."""
        pidfd = os.pidfd_open(self.process.pid)
        try:
            while True:
                ready, _, _ = select.select([self.notify, pidfd], [], [], DEADLINE)
                if self.notify in ready:
                    lines = self.notify.recv(4096).decode().split("\n")
                    self.notifications.append(lines)
                    if wanted in lines:
                        return lines
                elif pidfd in ready:
                    raise StartFailed(self.process.wait(), self.log())
                else:
                    raise AssertionError(f"no {wanted} from fdpassd in {DEADLINE} s:\n{self.log()}")
        finally:
            os.close(pidfd)

    @property
    def pid(self):
        """Of what was started: the keeper, which forwards signals to the broker."""
        return self.process.pid

    @property
    def broker_pid(self):
        """Of the broker that serves now."""
        return self.status()["broker"]["pid"]

    def pids(self):
        """Broker and keeper, whichever of the two made the other."""
        broker = self.broker_pid
        program = program_of(broker)
        # Its own children are of the same program, too. Disposable ones are younger than a keeper that it made.
        candidates = [parent_of(broker), *children_of(broker)]
        keepers = [pid for pid in candidates if program and program_of(pid) == program and not is_worker(pid)]
        return broker, keepers[0] if keepers else None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def client(self, **kwargs):
        return Client(self.control, **kwargs)

    def environment(self, **more):
        return clean_environment(FDPASS_SOCKET=self.control, **more)

    def fdpass(self, *arguments, check=True, **kwargs):
        """Run the command to its end."""
        done = subprocess.run([FDPASS, *map(str, arguments)], env=self.environment(), timeout=DEADLINE,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **kwargs)
        if check and done.returncode != 0:
            raise AssertionError(f"fdpass {arguments}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def spawn(self, *arguments, env=None, **kwargs):
        """`fdpass exec ...` in the background, a process group of its own. The caller ends it."""
        return subprocess.Popen([FDPASS, "exec", *map(str, arguments)], stdin=subprocess.DEVNULL,
                                env=self.environment(**(env or {})), start_new_session=True, **kwargs)

    def status(self):
        """Asked again when the broker had no processor for as long as the command waits for it."""
        end = time.monotonic() + DEADLINE
        while (done := self.fdpass("status", "--json", check=False)).returncode != 0:
            assert "did not answer in time" in done.stderr and time.monotonic() < end, f"{done}\n{self.log()}"
        return json.loads(done.stdout)

    def listener(self, name):
        found = [l for l in self.status()["listeners"] if l["name"] == name]
        assert found, f"no listener {name} in the status"
        return found[0]

    def leases(self, name):
        return {lease["pid"]: lease for lease in self.listener(name)["leases"]}

    def inode(self, name, index=0):
        return self.listener(name)["sockets"][index]["inode"]

    def reload(self):
        os.kill(self.pid, signal.SIGHUP)
        self.wait_notify("RELOADING=1")
        self.wait_notify("READY=1")

    def kill(self, number=signal.SIGKILL):
        """The started process. SIGKILL goes to keeper and broker at once: nothing survives that."""
        if number == signal.SIGKILL:
            end_both(*self.pids())
        else:
            self.process.send_signal(number)
        self.process.wait(DEADLINE)

    def stop(self):
        """End it as an operator does and insist that it ended well: no leak, no finding."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired as error:
                raise AssertionError(f"fdpassd does not end by SIGTERM:\n{self.log()}") from error
            assert self.process.returncode == 0, f"status {self.process.returncode}:\n{self.log()}"
        assert "Sanitizer" not in self.log() and "runtime error" not in self.log(), self.log()

    def remove(self):
        if self.process and self.process.poll() is None:
            for child in children_of(self.process.pid) or [None]:
                end_both(child, self.process.pid)
            self.process.wait()
        if hasattr(self, "notify"):
            self.notify.close()
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)
