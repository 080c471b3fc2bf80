"""What the components in Python have in common: who they are, and how they ask the others."""
import http.client
import json
import os
import socket

NAME = os.environ.get("COMPONENT", "?")
CALLS = os.environ.get("CALLS", "").split()
FOLDER = os.environ.get("SOCKETS", ".")


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket. It is connected to even while nobody serves: the broker holds it."""

    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(name):
    connection = Connection(f"{FOLDER}/{name}.sock")
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"{name} answered {answer.status}")
        return json.loads(answer.read())
    finally:
        connection.close()


def answer(path):
    """(status, body) of one request. A check of health asks nobody else."""
    if path == "/health":
        return 200, b"ok\n"
    try:
        calls = {name: ask(name) for name in CALLS}
    except (OSError, ValueError, http.client.HTTPException) as error:
        return 502, f"{NAME}: {error!r}\n".encode()
    about = {"component": NAME, "generation": os.environ.get("FDPASS_GENERATION", "-"), "calls": calls}
    return 200, json.dumps(about).encode() + b"\n"
