#!/usr/bin/python3
"""A small HTTP server that borrows its listener from fdpass, with nothing but Python's own library.

    ./server.py web

Kill it, start it again, start two: the address stays bound, and who connects meanwhile waits.
On SIGTERM it stops accepting, finishes what it has accepted, and ends.
"""
import array
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def control_socket():
    """As libfdpass looks for it: told, this user's own broker, the system's."""
    own = f"{os.environ.get('XDG_RUNTIME_DIR')}/fdpass/broker.sock"
    if os.environ.get("FDPASS_SOCKET"):
        return os.environ["FDPASS_SOCKET"]
    return own if os.geteuid() != 0 and os.path.exists(own) else "/run/fdpass/broker.sock"


def borrow(name):
    """The ten lines: one packet there, one packet with the descriptors back."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as broker:
        broker.settimeout(5)
        broker.connect(control_socket())
        broker.send(f"VERB=ACQUIRE\nNAME={name}".encode())
        text, control, flags, _ = broker.recvmsg(
            16384, socket.CMSG_SPACE(253 * 4), socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i", b"".join(data for _, _, data in control))
    if not text.startswith(b"OK=1") or flags & socket.MSG_CTRUNC or len(fds) != 1:
        for fd in fds:
            os.close(fd)
        raise OSError(text.decode(errors="replace") or "the broker hung up")
    return socket.socket(fileno=fds[0])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5  # seconds that a connection may stay silent, so that draining has an end

    def do_GET(self):
        body = f"served by process {os.getpid()}\n".encode()
        self.close_connection = self.close_connection or self.server.draining
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    """Waits in select() and then calls accept(). If several processes share the listener, another one
    may have been quicker, and accept() waits for the next connection, on a blocking listener also
    when SIGTERM comes: so configure NonBlocking=yes for it. Python must not do that by itself, with
    settimeout(): the flag is shared by all who hold the listener."""

    daemon_threads = False  # so that server_close() waits for the requests under way
    draining = False

    def __init__(self, listener):
        super().__init__(None, Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener


def main():
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} LISTENER")
    try:
        server = Server(borrow(sys.argv[1]))
    except OSError as error:
        sys.exit(f"{sys.argv[0]}: no listener {sys.argv[1]!r} from {control_socket()}: {error}")

    # A thread waits for the signal. A handler would run in the middle of what the main thread does,
    # which may be starting a thread: then it could not start another one for shutdown(), for ever.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def stop():
        signal.sigwait(signals)
        server.draining = True
        server.shutdown()  # waits for serve_forever()

    threading.Thread(target=stop, daemon=True).start()
    server.serve_forever(poll_interval=0.1)
    server.server_close()


if __name__ == "__main__":
    main()
