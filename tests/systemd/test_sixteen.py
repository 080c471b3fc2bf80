"""examples/sixteen/units as systemd's own services: the same files that fdpassd runs."""
import glob
import os
import shutil
import subprocess
import urllib.request

import pytest

EXAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "sixteen")
PATHS = ("feed", "pages", "mail", "files", "thumbs", "sessions")


@pytest.fixture
def folder():
    path = "/var/lib/sixteen"
    subprocess.run([os.path.join(EXAMPLE, "setup.sh"), path, os.environ["BUILD"]], check=True, capture_output=True)
    yield path
    shutil.rmtree(path)


def get(path):
    with urllib.request.urlopen(f"http://127.0.0.1:8080/{path}", timeout=30) as answer:
        return answer.read()


def test_the_unit_files_start_under_systemd_as_they_are(system, folder):
    sockets = []
    for path in glob.glob(os.path.join(folder, "units", "*")):
        with open(path, encoding="ascii") as file:
            system.unit(os.path.basename(path), file.read())
        if path.endswith(".socket"):
            sockets.append(os.path.basename(path))
    assert len(sockets) == 16
    system.systemctl("start", *sockets)
    system.systemctl("start", "edge.service")
    for _ in range(2):
        for path in PATHS:
            assert get(path)
        system.systemctl("restart", "gateway.service", "orders.service")
    assert b'"generation": "-"' in get("feed")
