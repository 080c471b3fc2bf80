"""What thousands of listeners cost in memory, of broker and keeper together."""
import os
import resource
import signal

import pytest

from testing.broker import free_address, memory_is_measurable

LISTENERS = 4000
#: Resident, what is shared counted by share: docs/benchmarks.md.
ALLOWED = 4 * 2**20 + 1024 * LISTENERS


def tcp(_):
    return ["%s:%d" % free_address() for _ in range(LISTENERS)]


def unix(folder):
    return [f"{folder}/s{i}.sock" for i in range(LISTENERS)]


def proportional_bytes(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            total += sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    return total


def assert_small(one):
    pids = one.pids()
    assert None not in pids
    used = proportional_bytes(pids)
    assert used <= ALLOWED, f"{used / 2**20:.2f} MiB with {LISTENERS} listeners, {ALLOWED / 2**20:.2f} are allowed"


@pytest.mark.alone  # other brokers would take their share of the program's pages
@pytest.mark.skipif(not memory_is_measurable(), reason="built with a sanitizer")
@pytest.mark.parametrize("addresses", [tcp, unix])
def test_memory_is_bounded_by_the_number_of_listeners(broker, tmp_path, addresses):
    """After the start, and after a crash, when everything has been read back."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2 * LISTENERS:
        pytest.skip("too few descriptors")
    config = "".join(f"[Socket s{i}]\nListenStream={address}\n" for i, address in enumerate(addresses(tmp_path)))
    b = broker(config, nofile=2 * LISTENERS)
    assert_small(b)
    os.kill(b.broker_pid, signal.SIGKILL)
    b.wait_notify("READY=1")
    assert_small(b)
