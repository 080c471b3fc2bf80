"""Components that are a few lines of Python, with the means to speak to the broker."""
import sys

#: What is said to the notify socket is up to each; SIGTERM ends it at once.
PRELUDE = """
import array, os, resource, signal, socket, threading, time
signal.signal(signal.SIGTERM, signal.SIG_DFL)
path = os.environ["NOTIFY_SOCKET"]
path = "\\0" + path[1:] if path[0] == "@" else path
notifier = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def notify(text, fds=()):
    data = text if isinstance(text, bytes) else text.encode()
    notifier.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [], 0, path)
def serve():
    listener = socket.socket(fileno=3)
    listener.setblocking(True)
    while True:
        listener.accept()[0].close()
"""


def runs(folder, name, text):
    """The directive that runs this Python text."""
    path = folder / f"{name}.py"
    path.write_text(PRELUDE + text)
    return f"ExecStart={sys.executable} -IS {path}\n"
