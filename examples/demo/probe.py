"""
probe.py PORT PATH: one connection after another to 127.0.0.1:PORT and to the Unix socket PATH, until
SIGTERM. Prints for each of the two: made, refused, cut off, longest wait in milliseconds.
"""
import signal
import socket
import sys
import threading
import time


class Account:
    def __init__(self, family, address):
        self.family, self.address = family, address
        self.made = self.refused = self.cut = 0
        self.longest = 0.0

    def connect_once(self):
        """True when there was an answer; False when the server went away instead."""
        with socket.socket(self.family) as s:
            s.settimeout(60)
            s.connect(self.address)
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answered = 0
            while data := s.recv(4096):
                answered += len(data)
            return answered > 0

    def work(self, stop):
        while not stop.is_set():
            begin = time.monotonic()
            self.made += 1
            try:
                if self.connect_once():
                    self.longest = max(self.longest, time.monotonic() - begin)
                else:
                    self.cut += 1
            except (ConnectionRefusedError, FileNotFoundError):
                self.refused += 1
            except ConnectionError:
                self.cut += 1


def main():
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    accounts = [Account(socket.AF_INET, ("127.0.0.1", int(sys.argv[1]))),
                Account(socket.AF_UNIX, sys.argv[2])]
    threads = [threading.Thread(target=account.work, args=(stop,)) for account in accounts]
    for thread in threads:
        thread.start()
    stop.wait()
    for thread in threads:
        thread.join()
    for a in accounts:
        print(a.made, a.refused, a.cut, int(a.longest * 1000))


if __name__ == "__main__":
    main()
