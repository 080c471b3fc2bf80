"""Fixtures of the end-to-end tests. Programs are given by FDPASSD, FDPASS and BUILD."""
import ctypes
import os
import signal
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

from testing.broker import Broker  # noqa: E402  (the path must be set first)

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@pytest.fixture
def broker():
    """broker(config, ...) starts one. All are stopped, and must end well, after the test."""
    started = []

    def start(config, **kwargs):
        started.append(Broker(config, **kwargs))
        return started[-1]

    yield start
    try:
        for one in started:
            one.stop()
    finally:
        for one in started:
            one.remove()


@pytest.fixture
def processes():
    """A list to put Popen objects into; their process groups are killed after the test."""
    started = []
    yield started
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


@pytest.fixture
def subreaper():
    """What a killed keeper or broker leaves becomes our child, and is reaped here and nowhere else."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture
def free_fds():
    """What the test opened by number; closed after it."""
    fds = []
    yield fds
    for fd in fds:
        os.close(fd)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def pytest_configure(config):
    config.addinivalue_line("markers", "root: needs root")
    config.addinivalue_line("markers", "alone: measures, or leaves no time to others, and runs while no other test does")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(needs_root)
