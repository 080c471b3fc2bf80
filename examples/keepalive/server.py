#!/usr/bin/python3
"""A keep-alive server that hands its open connections to its next process, with what it knows of each.

    ./server.py web          # end it with SIGTERM, start it again: its clients notice nothing

On SIGTERM it leaves every connection with the broker, and how often each was answered; the next one
takes them and goes on counting. Requests and answers are lines, so that there is nothing else to see.
What a client has sent of a line goes along too: what was read from a socket is not in the socket.
"""
import array
import fcntl
import json
import os
import selectors
import signal
import socket
import sys

STORED_MAX = 251  # connections in one packet, beside the memfd with the data


class Broker:
    """docs/protocol.md in a few lines. Every request can be repeated, so that a broker that goes away
    and comes back is nothing that its callers need to know of."""

    path = os.environ.get("FDPASS_SOCKET", "/run/fdpass/broker.sock")

    def ask(self, *requests, fds=()):
        """Packets on one connection, the last one with these descriptors; its answer and what came with it."""
        for _ in range(9):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as broker:
                broker.settimeout(5)
                try:
                    broker.connect(self.path)
                    for request in requests[:-1]:
                        broker.send(request.encode())
                        broker.recv(16384)
                    broker.sendmsg([requests[-1].encode()], self.control(fds))
                    text, control, flags, _ = broker.recvmsg(
                        16384, socket.CMSG_SPACE(253 * 4), socket.MSG_CMSG_CLOEXEC)
                except ConnectionError:
                    continue
            if text:
                if flags & socket.MSG_CTRUNC:
                    raise OSError("no room for the descriptors")
                received = array.array("i", b"".join(data for _, _, data in control))
                return dict(line.split("=", 1) for line in text.decode().splitlines()), received.tolist()
        raise OSError("the broker goes away again and again")

    @staticmethod
    def control(fds):
        return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []

    def listener(self, name):
        answer, fds = self.ask(f"VERB=ACQUIRE\nNAME={name}")
        if "OK" not in answer:
            raise OSError(answer["MESSAGE"])
        return socket.socket(fileno=fds[0])

    def store(self, name, fds, state):
        """One STORE: descriptors, and the state of each as JSON in a sealed memfd."""
        data = json.dumps(state).encode()
        memfd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(memfd, data)
        fcntl.fcntl(memfd, fcntl.F_ADD_SEALS,
                    fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
        # without HELLO the broker takes no descriptors
        answer, _ = self.ask("VERB=HELLO", f"VERB=STORE\nNAME={name}\nSIZE={len(data)}", fds=[*fds, memfd])
        if "OK" not in answer:
            raise OSError(answer["MESSAGE"])

    def take(self, name):
        answer, fds = self.ask(f"VERB=TAKE\nNAME={name}")
        if "OK" not in answer:
            return [], []
        memfd = fds.pop()
        state = json.loads(os.pread(memfd, int(answer["SIZE"]), 0))
        os.close(memfd)
        self.ask(f"VERB=TAKEN\nNAME={name}\nACK={answer['ACK']}")  # now the broker lets go
        return fds, state


class Server:
    def __init__(self, name):
        self.name = name
        self.broker = Broker()
        self.clients = {}  # socket: [answers given, what was read of the next line]
        self.selector = selectors.DefaultSelector()
        self.listener = self.broker.listener(name)
        self.selector.register(self.listener, selectors.EVENT_READ)
        for batch in range(1000):
            fds, state = self.broker.take(f"{name}.{batch}")
            if not fds:
                break
            for fd, (count, rest) in zip(fds, state):
                self.add(socket.socket(fileno=fd), count, rest.encode("latin-1"))

    def add(self, client, count=0, rest=b""):
        self.clients[client] = [count, rest]
        self.selector.register(client, selectors.EVENT_READ)

    def serve(self, client):
        data = client.recv(4096)
        known = self.clients[client]
        *lines, known[1] = (known[1] + data).split(b"\n")
        for _ in lines:
            known[0] += 1
            client.sendall(f"{known[0]} by {os.getpid()}\n".encode())
        if not data:
            del self.clients[client]
            self.selector.unregister(client)
            client.close()

    def run(self, wakeup):
        self.selector.register(wakeup, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is wakeup:
                    return
                if key.fileobj is self.listener:
                    self.add(self.listener.accept()[0])
                else:
                    self.serve(key.fileobj)

    def leave(self):
        all_clients = list(self.clients.items())
        for batch in range(0, len(all_clients), STORED_MAX):
            some = all_clients[batch:batch + STORED_MAX]
            self.broker.store(f"{self.name}.{batch // STORED_MAX}", [c.fileno() for c, _ in some],
                              [[count, rest.decode("latin-1")] for _, (count, rest) in some])


def main():
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} LISTENER")
    wakeup, signalled = socket.socketpair()
    signalled.setblocking(False)
    signal.set_wakeup_fd(signalled.fileno())
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        server = Server(sys.argv[1])
    except OSError as error:
        sys.exit(f"{sys.argv[0]}: no listener {sys.argv[1]!r}: {error}")
    server.run(wakeup)
    server.leave()


if __name__ == "__main__":
    main()
