"""A client of the control protocol, written from docs/protocol.md alone."""
import array
import json
import os
import socket


class Answer(dict):
    """Assignments of one packet, and its descriptors."""

    def __init__(self, text, fds):
        lines = text.decode(errors="surrogateescape").rstrip("\n").split("\n")
        super().__init__(line.split("=", 1) for line in lines)
        self.first = lines[0]
        self.fds = fds

    @property
    def ok(self):
        return self.first == "OK=1"

    def document(self):
        """The memfd that comes last, as JSON."""
        size = int(self["SIZE"])
        fd = self.fds.pop()
        try:
            return json.loads(os.pread(fd, size, 0))
        finally:
            os.close(fd)

    def close(self):
        while self.fds:
            os.close(self.fds.pop())


class Client:
    def __init__(self, path, timeout=30):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(path)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, verb, fds=(), **keys):
        lines = [f"VERB={verb}", *(f"{key}={value}" for key, value in keys.items())]
        self.send_bytes("\n".join(lines).encode(), fds)

    def send_bytes(self, data, fds=()):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([data], control)

    def receive(self):
        """The next packet, or None when the broker closed the session."""
        text, control, flags, _ = self.socket.recvmsg(16384, socket.CMSG_SPACE(253 * 4), socket.MSG_CMSG_CLOEXEC)
        fds = []
        for level, kind, data in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds += array.array("i", data[:len(data) - len(data) % 4])
        assert not flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC)
        return Answer(text, fds) if text else None

    def request(self, verb, fds=(), **keys):
        self.send(verb, fds, **keys)
        answer = self.receive()
        assert answer is not None, f"the broker hung up on {verb} {keys}"
        return answer

    def acquire(self, name):
        """One listening socket."""
        answer = self.request("ACQUIRE", NAME=name)
        assert answer.ok, answer
        assert len(answer.fds) == 1, answer.fds
        return socket.socket(fileno=answer.fds[0])
