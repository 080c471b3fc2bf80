#!/usr/bin/python3
"""consumer.py SERVER: run it with LISTEN_FDS as a service manager does, ask it, drain it."""
import os
import signal
import socket
import subprocess
import sys


def start(server, listener):
    """Descriptor 3 and LISTEN_PID can only be set between fork and exec: a shell in between is the
    same process, so its $$ is the right one."""
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind("")  # an abstract name that the kernel chooses
    notify.settimeout(20)
    environment = dict(os.environ, LISTEN_FDS="1", LISTEN_FDNAMES="web",
                       NOTIFY_SOCKET="@" + notify.getsockname()[1:].decode(),
                       FDPASS_SOCKET="/nonexistent/broker.sock")
    process = subprocess.Popen(
        ["/bin/sh", "-c", f'exec 3<&{listener.fileno()}; LISTEN_PID=$$ exec "$0" web', server],
        pass_fds=[listener.fileno()], env=environment)
    return process, notify


def read_answer(client):
    data = b""
    while b"\n" not in data.partition(b"\r\n\r\n")[2]:
        part = client.recv(4096)
        if not part:
            raise AssertionError(f"connection closed after {data!r}")
        data += part
    return data


def connect(address):
    return socket.create_connection(address, timeout=20)


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    early = connect(address)  # waits in the queue until there is a server
    process, notify = start(sys.argv[1], listener)
    try:
        ready = notify.recv(4096)
        assert ready == b"READY=1", ready
        early.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = read_answer(early)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n"), answer
        assert b"Connection: close" not in answer, answer

        # Accepted, but silent when the signal comes: its request is answered all the same.
        silent = connect(address)
        silent.sendall(b"GET / HT")
        probe = connect(address)  # when this is answered, the one before it has been accepted
        probe.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"200 OK" in read_answer(probe)
        early.sendall(b"GET / HT")  # the second request of this one is under way, too
        process.send_signal(signal.SIGTERM)
        assert notify.recv(4096) == b"STOPPING=1"
        silent.sendall(b"TP/1.1\r\nHost: x\r\n\r\n")
        answer = read_answer(silent)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and b"Connection: close" in answer, answer
        early.sendall(b"TP/1.1\r\nHost: x\r\n\r\n")
        assert b"Connection: close" in read_answer(early)
        for client in (early, silent, probe):
            assert client.recv(1) == b""
            client.close()
        assert process.wait(timeout=20) == 0, process.returncode
        late = connect(address)  # the address is still bound: this one is for the next server
        late.close()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    print("built outside, found by pkg-config, served and drained")


main()
