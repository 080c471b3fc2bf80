"""A broker that runs testing/server.py as its components."""
import json
import os
import re
import select
import socket
import sys

from .broker import DEADLINE, free_address
from .client import Client
from .process import until

SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "server.py")
REQUEST = b"GET / HTTP/1.0\r\nHost: x\r\n\r\n"


class Job:
    """A request for components, on a session of its own."""

    def __init__(self, path, verb, *names, **keys):
        self.client = Client(path, timeout=DEADLINE)
        self.events = []
        self.document = None
        if names:
            keys["NAMES"] = " ".join(names)
        self.client.send(verb, **keys)

    def step(self, step, component=None, generation=None):
        """Read on until this is told."""
        while not any(event["STEP"] == step and component in (None, event["COMPONENT"]) and
                      generation in (None, int(event["GENERATION"])) for event in self.events):
            packet = self.client.receive()
            assert packet.first == "EVENT=PROGRESS", f"{step} is never told: {packet}, {self.events}"
            self.events.append(packet)
        return self

    def refusal(self):
        answer = self.client.receive()
        assert "ERROR" in answer, answer
        self.client.close()
        return answer

    def is_over(self):
        return bool(select.select([self.client.socket], [], [], 0)[0]) or self.document is not None

    def wait(self):
        """The receipts by component."""
        while self.document is None:
            packet = self.client.receive()
            if packet.first == "EVENT=PROGRESS":
                self.events.append(packet)
                continue
            assert packet.ok, packet
            self.document = packet.document()
            assert (self.document["result"] == "good") == (packet["RESULT"] == "good")
            self.client.close()
        return {one["name"]: one for one in self.document["components"]}

    def steps(self):
        return [(event["COMPONENT"], event["STEP"], int(event["GENERATION"])) for event in self.events]


class Scene:
    """
    `components`: name to directives beside ExecStart=. Each has a listener of its own name, unless it
    says Sockets=; NonBlocking=, because two generations share it; and the file NAME.env, read anew by
    each generation.
    """

    def __init__(self, broker, folder, components, more="", **kwargs):
        self.folder = folder
        self.addresses = {}
        self.components = components
        self.more = more
        for name in components:
            self.do(name, "")
        self.broker = broker(self.config(), **kwargs)
        for name in components:
            until(lambda name=name: self.state(name) != "starting", lambda name=name: f"{name} to start")

    def config(self):
        text = [self.more]
        for name, directives in self.components.items():
            if "Sockets=" not in directives:
                self.addresses.setdefault(name, free_address())
                directives = f"Sockets={name}\n{directives}"
            if "ExecStart=" not in directives:
                directives = f"ExecStart={sys.executable} -IS {SERVER}\n{directives}"
            text.append(f"[Component {name}]\nNonBlocking=yes\nEnvironmentFile={self.folder}/{name}.env\n"
                        f"{directives}")
        # Listeners stay when their component goes.
        text += [f"[Socket {name}]\nListenStream={host}:{port}" for name, (host, port) in self.addresses.items()]
        return "\n".join(text) + "\n"

    def apply(self, **kwargs):
        self.broker.write_config(self.config())
        return self.broker.fdpass("apply", **kwargs)

    def do(self, name, words, more=""):
        """What its next generation is to do."""
        (self.folder / f"{name}.env").write_text(f'DO="{words}"\n{more}')

    def file(self, name):
        """A file that is there, for words of DO= that look for one."""
        path = self.folder / name
        path.touch()
        return path

    def job(self, verb, *names, **keys):
        return Job(self.broker.control, verb, *names, **keys)

    def receipt(self, verb, name, **keys):
        return self.job(verb, name, **keys).wait()[name]

    def component(self, name):
        with self.broker.client(timeout=DEADLINE) as client:
            found = client.request("STATUS").document()["components"]
        return next((one for one in found if one["name"] == name), None)

    def state(self, name):
        component = self.component(name)
        return component and component["state"]

    def wait_state(self, name, *states):
        until(lambda: self.state(name) in states, lambda: f"{name} to be {states}: {self.component(name)}\n"
                                                          f"{self.broker.log()}")
        return self.component(name)

    def instances(self, name):
        return {(one["generation"], one["index"]): one["state"] for one in self.component(name)["instances"]}

    def soon_ms(self, name, least=1500):
        """
        For TimeoutStartSec= of a generation that is not to serve. Its time is over soon, and not before it has said and
        done what it is there for: a busy machine is known by how long the one that serves took to start.
        """
        took = max(one["ready_ms"] or 0 for one in self.component(name)["instances"])
        return min(max(least, 10 * took), 15000)  # a client waits for the next step no longer than DEADLINE

    def soon(self, name, least=1500):
        return f"TimeoutStartSec={self.soon_ms(name, least)}ms\n"

    def pids(self, name):
        return {one["generation"]: one["pid"] for one in self.component(name)["instances"]}

    def ask(self, name, path="/", listener=None):
        """What a request is answered with, as a mapping."""
        with socket.create_connection(self.addresses[listener or name], timeout=DEADLINE) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return self.read(connection)

    @staticmethod
    def read(connection):
        data = b""
        while more := connection.recv(65536):
            data += more
        assert data, "cut"
        return dict(line.split("=", 1) for line in data.decode().partition("\r\n\r\n")[2].splitlines())

    def generation(self, name):
        return int(self.ask(name)["generation"])

    def lines(self, name):
        text = self.broker.fdpass("logs", name, "--json").stdout
        return [json.loads(line)["text"] for line in text.splitlines()]

    def said(self, name, pattern):
        """Wait until it wrote such a line; the match."""
        return until(lambda: next(filter(None, (re.search(pattern, line) for line in self.lines(name))), None),
                     lambda: f"{name} to say {pattern}: {self.lines(name)}")

    def wait_log(self, pattern, count=1):
        until(lambda: len(re.findall(pattern, self.broker.log())) >= count,
              lambda: f"the log to have {pattern}:\n{self.broker.log()}")
