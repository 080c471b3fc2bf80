"""
A component for the tests: an HTTP server on LISTEN_FDS that misbehaves as it is told.

DO= in its environment has the words: "exit=3", "delay=0.5 ignore-term", … Words whose value is a path mean: as
long as that file is there. A request is read to its end before it is answered, and SIGTERM ends it only after
what was accepted is answered.
"""
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time

DO = dict(word.partition("=")[::2] for word in os.environ.get("DO", "").split())
PLACE = {key: os.environ.get(f"FDPASS_{key.upper()}", "") for key in ("component", "generation", "instance")}


def holds(word):
    return word in DO and os.path.exists(DO[word])


def say(text):
    try:
        print(text, flush=True)
    except BrokenPipeError:
        pass  # broker and keeper were killed both


def notify(text, path=None):
    path = path or os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(text.encode(), "\0" + path[1:] if path[0] == "@" else path)


def wait(condition):
    while not condition():
        time.sleep(0.01)


def for_ever():
    if "ignore-term" not in DO:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        signal.pause()


class Server:
    def __init__(self):
        self.stopping = self.was_deaf = False
        self.answered = 0  # requests for /
        self.woken, self.wake = socket.socketpair()
        self.wake.setblocking(False)
        self.woken.setblocking(False)
        self.listeners = [socket.socket(fileno=3 + k) for k in range(int(os.environ.get("LISTEN_FDS", 0)))]
        signal.set_wakeup_fd(self.wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self.on_stop)
        signal.signal(signal.SIGHUP, lambda *_: self.on_reload())

    def on_stop(self, *_):
        say("asked to stop")
        self.stopping = "ignore-term" not in DO
        if "extend-stop" in DO:
            notify(f"EXTEND_TIMEOUT_USEC={int(float(DO['extend-stop']) * 1e6)}")

    @staticmethod
    def on_reload():
        say("reloads")
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        wait(lambda: not holds("reload-while"))
        notify("READY=1")

    def serve(self):
        """asks=SECONDS: later, and then it asks accept() again and again, and waits in nothing that says so."""
        begin = time.monotonic()
        while not self.stopping or holds("linger"):
            if holds("leave"):
                say("leaves")
                sys.exit(int(DO.get("status", 0)))
            if holds("ends"):
                leave_of_its_own_will("ends")
            if holds("memory-on"):
                fill_memory()
            if "feed" in DO and not holds("unfed"):
                notify("WATCHDOG=1")
            if holds("busy"):
                notify("STATUS=busy")
            deaf = self.is_deaf()
            waits_for = [] if deaf or "asks" in DO else self.listeners[int(DO.get("listener", 0)):]
            ready, _, _ = select.select([self.woken, *waits_for], [], [], 0.02)
            if "slow" in DO:
                time.sleep(float(DO["slow"]))
            if "asks" in DO and not deaf and time.monotonic() > begin + float(DO["asks"]):
                ready += self.listeners[int(DO.get("listener", 0)):]
            if self.woken in ready:
                self.woken.recv(100)
            for listener in ready:
                if listener is not self.woken:
                    self.accept(listener)
        if "drain" in DO:
            time.sleep(float(DO["drain"]))

    def hang_in_its_loop(self):
        """As a loop does in which something blocks: the listeners are in its set, and nobody asks that."""
        with select.epoll() as events:
            for listener in self.listeners:
                events.register(listener, select.EPOLLIN)
            for_ever()

    def is_deaf(self):
        """To be seen in what it writes: what comes after that waits."""
        deaf = "deaf" in DO and (not DO["deaf"] or holds("deaf"))
        if deaf and not self.was_deaf:
            say("deaf")
        self.was_deaf = deaf
        return deaf or self.stopping

    def accept(self, listener):
        if holds("accepts-not-while"):
            say("woken")
            wait(lambda: not holds("accepts-not-while"))
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return  # another process was quicker
        with connection:
            try:
                self.answer(connection)
            except OSError:
                pass  # it went away

    def answer(self, connection):
        connection.settimeout(10)
        request = b""
        while b"\r\n\r\n" not in request:
            more = connection.recv(65536)
            if not more:
                return
            request += more
        self.answered += request.startswith(b"GET / ")
        if request.startswith(b"GET /hold"):
            wait(lambda: not holds("hold"))
        status = "500 sick" if holds("sick") else "200 OK"
        body = "\n".join([*(f"{key}={value}" for key, value in PLACE.items()), f"pid={os.getpid()}",
                          f"cwd={os.getcwd()}", f"greeting={os.environ.get('GREETING', '')}", f"answered={self.answered}", ""]).encode()
        connection.sendall(f"HTTP/1.0 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


def fork_away():
    """As daemons did: the parent is gone before the child goes on, and said who is the main process now."""
    if pid := os.fork():
        if "unsaid" not in DO:
            notify(f"MAINPID={pid}")
        os._exit(0)
    wait(lambda: os.getppid() != int(os.environ["LISTEN_PID"]))


def leave_grandchild():
    """It has the listeners, its own session, and never accepts."""
    grandchild = subprocess.Popen(["/usr/bin/sleep", "1000"], start_new_session=True, close_fds=False,
                                  pass_fds=[3], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    say(f"grandchild {grandchild.pid}")


def leave_of_its_own_will(word, ready=""):
    """It says so, and ends when the file is gone."""
    status = int(DO.get("status", 0))
    notify(f"{ready}STOPPING=1\nSTATUS=enough\nEXIT_STATUS={status}")
    say("leaves")
    wait(lambda: not holds(word))
    sys.exit(status)


def fill_memory():
    hoard = []
    while True:
        hoard.append(bytearray(1 << 20))


def flood(write):
    end = time.monotonic() + float(DO.get("seconds", 1))
    while time.monotonic() < end:
        write()


def before_ready():
    if "say" in DO:
        for n in range(int(DO["say"])):
            say(f"line {n}")
    if "exit" in DO:
        print("cannot open the database", file=sys.stderr, flush=True)
        sys.exit(int(DO["exit"]))
    if "errno" in DO:
        notify(f"STATUS=no disk\nERRNO={DO['errno']}")
        sys.exit(1)
    if holds("ends-early"):
        leave_of_its_own_will("ends-early")
    if "ends-as-ready" in DO:
        leave_of_its_own_will("ends-as-ready", "READY=1\n")
    if "kill-self" in DO:
        os.kill(os.getpid(), getattr(signal, DO["kill-self"]))
    wait(lambda: not holds("starts-while"))
    if "memory" in DO:
        fill_memory()
    if "fork-away" in DO:
        fork_away()
    if "grandchild" in DO:
        leave_grandchild()
    if "extend" in DO:
        end = time.monotonic() + float(DO["extend"])
        while time.monotonic() < end:
            notify(f"EXTEND_TIMEOUT_USEC={int(float(DO['extend']) * 1e6)}")
            time.sleep(0.3)
    if "stop-self" in DO:
        os.kill(os.getpid(), signal.SIGSTOP)
    if "never" in DO:
        say("waits for the database")
        for_ever()


def main():
    if "ignore-term" in DO:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    before_ready()
    server = Server()
    if "as" in DO:  # the path of another's notify socket
        notify("READY=1\nSTATUS=it is me", DO["as"])
        say("said it")
        for_ever()
    if "other-process" in DO:  # neither main process nor of its kind
        if not os.fork():
            notify("READY=1\nSTATUS=by a child")
        for_ever()
    notify("READY=1\nSTATUS=serving")
    if "ready-twice" in DO:
        notify("READY=1\nSTATUS=again")
        notify("READY=1")
    if "stuck" in DO:
        server.hang_in_its_loop()
    if "flood-notify" in DO:
        flood(lambda: [notify("STATUS=" + "x" * 200) for _ in range(50)])
    if "flood-output" in DO:
        flood(lambda: os.write(1, b"y" * 65535 + b"\n"))
    server.serve()
    say("bye")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
