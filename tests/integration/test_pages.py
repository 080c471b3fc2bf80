"""What the pages show works as it stands there."""
import os
import pty
import re
import select
import subprocess
import sys
import time

from testing.broker import FDPASSD, free_address

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def test_the_client_on_the_protocol_page_gets_a_listener(broker):
    b = broker("[Socket web]\nListenStream=%s:%d\n" % free_address())
    with open(os.path.join(ROOT, "docs", "protocol.md"), encoding="utf-8") as page:
        client = re.search(r"```python\n(.*?)```", page.read(), re.S).group(1)
    client = client.replace("/run/fdpass/broker.sock", b.control)
    assert b.control in client
    done = subprocess.run([sys.executable, "-c", client + "\nprint(listener.getsockname())"],
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert "127." in done.stdout


def log_on_terminal(fdpassd, environment):
    """What fdpassd writes to a terminal when its configuration is missing."""
    terminal, theirs = pty.openpty()
    try:
        child = subprocess.Popen([fdpassd, "--config", "/nonexistent"], stderr=theirs, env=environment)
        assert child.wait(30) != 0
        text = b""
        until = time.monotonic() + 10
        while b"\n" not in text and select.select([terminal], [], [], max(0, until - time.monotonic()))[0]:
            text += os.read(terminal, 4096)
        return text
    finally:
        os.close(theirs)
        os.close(terminal)


def test_the_log_has_colour_on_a_terminal_and_not_when_that_is_refused():
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    assert b"\033[1;31mfdpassd: error:" in log_on_terminal(FDPASSD, environment)
    environment["NO_COLOR"] = "1"
    plain = log_on_terminal(FDPASSD, environment)
    assert plain.startswith(b"fdpassd: error:") and b"\033" not in plain
