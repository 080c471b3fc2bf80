"""The example servers: restarted under load, one by one, they lose no connection."""
import os
import signal
import subprocess
import sys

import pytest

from testing.broker import free_address
from testing.load import Load

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SERVERS = {
    "c-server": [os.path.join(os.environ["BUILD"], "examples/c-server"), "web"],
    "python": [sys.executable, "-B", os.path.join(ROOT, "examples/python/server.py"), "web"],
}


def start(broker, server, processes):
    process = subprocess.Popen(SERVERS[server], env=broker.environment(), stdin=subprocess.DEVNULL,
                               start_new_session=True)
    processes.append(process)
    return process


def stop(process):
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


@pytest.mark.parametrize("server, non_blocking", [("c-server", "no"), ("c-server", "yes"), ("python", "yes")])
def test_a_rolling_restart_loses_no_connection(broker, processes, server, non_blocking):
    host, port = free_address()
    held = broker(f"[Socket web]\nListenStream={host}:{port}\nNonBlocking={non_blocking}\n")
    current = start(held, server, processes)
    with Load((host, port)) as load:
        load.wait_served(20)
        for _ in range(5):
            following = start(held, server, processes)
            stop(current)  # the next one may not serve yet: connections wait
            current = following
            load.wait_served(20)
    stop(current)
    assert load.served >= 120 and load.refused == load.cut == 0 and not load.others, load


@pytest.mark.parametrize("server", SERVERS)
def test_without_a_broker_there_is_a_sentence_and_an_exit_status(server, tmp_path):
    done = subprocess.run(SERVERS[server], env={**os.environ, "FDPASS_SOCKET": str(tmp_path / "none")},
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "no listener" in done.stderr and "Traceback" not in done.stderr
