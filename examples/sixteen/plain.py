"""
A component in Python without a framework: LISTEN_FDS, READY=1, and a stop that loses nothing. Its
listener has NonBlocking=yes: of two generations that wake for one connection, one finds none.
"""
import http.server
import os
import signal
import socket
import threading

from common import answer


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = answer(self.path)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "a component"

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # server_close() waits for them

    def __init__(self):
        super().__init__(None, Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=3)


def ready():
    path = os.environ.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", "\0" + path[1:] if path[0] == "@" else path)


def main():
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise SystemExit("plain.py: no listener was given to this process (LISTEN_PID)")
    server = Server()
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    ready()
    server.serve_forever(poll_interval=0.05)
    server.server_close()


main()
