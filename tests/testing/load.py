"""
Connections without end, one request each, and an account of what became of them.

A connection that is *refused* is what fdpass exists to prevent. One that is *cut* had been accepted
by a server that was then killed: no holder of a socket can save that, so it is told apart.
"""
import collections
import socket
import threading
import time


class Load:
    """Use it in a with block; the numbers are final after it."""

    def __init__(self, address, threads=4, request=b"GET / HTTP/1.0\r\nHost: x\r\n\r\n", timeout=30):
        self.address = address
        self.family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.request = request
        self.timeout = timeout
        self.lock = threading.Condition()
        self.made = self.served = self.refused = self.cut = 0
        self.longest = 0.0
        self.others = collections.Counter()
        self.stopping = False
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        for thread in self.threads:
            thread.join(self.timeout + 10)

    def wait_served(self, more, deadline=60):
        """Until `more` further requests were answered: how a test knows that the server serves."""
        with self.lock:
            goal = self.served + more
            assert self.lock.wait_for(lambda: self.served >= goal, deadline), \
                f"not served within {deadline} s: {self}"

    def __str__(self):
        return (f"{self.made} connections, {self.served} served, {self.refused} refused, {self.cut} cut, "
                f"longest wait {self.longest * 1000:.0f} ms, others {dict(self.others)}")

    def _work(self):
        while not self.stopping:
            begin = time.monotonic()
            try:
                outcome = self._once()
            except ConnectionRefusedError:
                outcome = "refused"
            except FileNotFoundError:
                outcome = "refused"  # the path of a Unix socket is gone: the same to a client
            except (ConnectionResetError, BrokenPipeError):
                outcome = "cut"
            except OSError as error:
                outcome = error.__class__.__name__ + str(error)
            self._note(outcome, time.monotonic() - begin)

    def _once(self):
        with socket.socket(self.family, socket.SOCK_STREAM) as s:
            s.settimeout(self.timeout)
            s.connect(self.address)
            s.sendall(self.request)
            size = 0
            while True:
                data = s.recv(65536)
                if not data:
                    return "served" if size else "cut"
                size += len(data)

    def _note(self, outcome, took):
        with self.lock:
            self.made += 1
            if outcome == "served":
                self.served += 1
                self.longest = max(self.longest, took)
            elif outcome in ("refused", "cut"):
                setattr(self, outcome, getattr(self, outcome) + 1)
            else:
                self.others[outcome] += 1
            self.lock.notify_all()
