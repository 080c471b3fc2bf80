#!/usr/bin/python3
"""
Print the state document of a broker as text: dump.py > state-VERSION.hex, or
dump.py --stored > state-VERSION-stored.hex for one where programs have stored descriptors as well.

Run it with FDPASSD and FDPASS of a release; what it prints goes beside this file and must load for
ever (tests/unit/test_past_states.c). The broker has a TCP and a Unix listener, a holder that said
that it is ready, and leases. Lines are "OFFSET HEX", zeroes left out; the last one is the size.
"""
import fcntl
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True

from testing.broker import Broker, FDPASSD, free_address, private_folder  # noqa: E402

WIDTH = 32


def document_of(pid):
    """The memfd, by its name."""
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        if os.readlink(f"{folder}/{name}").startswith("/memfd:fdpass-state"):
            with open(f"{folder}/{name}", "rb") as file:
                return file.read()
    raise SystemExit(f"process {pid} has no state document")


def store(client):
    """Two entries, one of them with data."""
    data = os.memfd_create("data", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(data, b"state")
    fcntl.fcntl(data, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW |
                fcntl.F_SEAL_WRITE)
    assert client.request("HELLO")["STORE"] == "1"
    assert client.request("STORE", [0, 1, data], NAME="shop", SIZE=5).ok
    assert client.request("STORE", [0], NAME="other").ok


def main():
    host, port = free_address()
    folder = private_folder()
    broker = Broker(f"[Socket web]\nListenStream={host}:{port}\n"
                    f"[Socket api]\nListenStream={folder}/api.sock\n", folder=folder)
    try:
        with broker.client() as client:
            listeners = [client.acquire("web"), client.acquire("api")]
            assert client.request("NOTIFY", READY="1", STATUS="serving").ok
            if "--stored" in sys.argv[1:]:
                store(client)
            document = document_of(broker.broker_pid)
            for one in listeners:
                one.close()
    finally:
        broker.stop()
        broker.remove()
        shutil.rmtree(folder)
    version = subprocess.run([FDPASSD, "--version"], check=True, capture_output=True, text=True).stdout
    print(f"# {version.strip()}, {sys.byteorder} endian: tests/upgrade/dump.py")
    for at in range(0, len(document), WIDTH):
        part = document[at:at + WIDTH]
        if any(part):
            print(f"{at:x} {part.hex()}")
    print(f"{len(document):x}")


main()
