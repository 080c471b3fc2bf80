"""What processes get that share a listener: NonBlocking= of their component. And brokers that share a folder."""
import os
import socket

import pytest

from testing.broker import DEADLINE
from testing.process import end, until
from testing.scene import REQUEST, Scene

NOTIFY = "Type=notify\n"


def is_non_blocking(pid, fd=3):
    """Of the open file description, which all who share the listener share."""
    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as file:
        flags = next(line.split()[1] for line in file if line.startswith("flags:"))
    return bool(int(flags, 8) & os.O_NONBLOCK)


def pids(s, name="hermes"):
    return [one["pid"] for one in s.component(name)["instances"]]


@pytest.mark.parametrize("word, expected", [("yes", True), ("no", False), ("", False)])
def test_NonBlocking_is_what_each_generation_gets(broker, tmp_path, word, expected):
    s = Scene(broker, tmp_path, {"hermes": f"NonBlocking={word}\n" + NOTIFY + "Instances=2\n"})
    until(lambda: len(pids(s)) == 2, "two")
    assert [is_non_blocking(pid) for pid in pids(s)] == [expected] * 2
    assert s.receipt("RESTART", "hermes")["verdict"] == "serves"
    assert [is_non_blocking(pid) for pid in pids(s)] == [expected] * 2


def test_one_that_asks_for_NonBlocking_gets_it_for_a_listener_that_others_share(broker, tmp_path):
    s = Scene(broker, tmp_path, {"hermes": NOTIFY, "iris": "NonBlocking=no\nSockets=hermes\n" + NOTIFY})
    assert [is_non_blocking(*pids(s, name)) for name in s.components] == [True, True]


def test_of_processes_that_share_a_listener_none_hangs_in_accept(broker, tmp_path):
    """All wake up for one connection; who comes too late must be told so, or it hears nothing else any more."""
    s = Scene(broker, tmp_path, {"hermes": NOTIFY + "Start=manual\nInstances=4\nTimeoutStopSec=20\n"})
    gate = s.file("gate")
    s.do("hermes", f"accepts-not-while={gate}")
    s.receipt("START", "hermes")
    with socket.create_connection(s.addresses["hermes"], timeout=DEADLINE) as connection:
        connection.sendall(REQUEST)
        until(lambda: s.lines("hermes").count("woken") == 4, "all to see it")
        gate.unlink()
        assert s.read(connection)["component"] == "hermes"
    receipt = s.receipt("STOP", "hermes")
    assert (receipt["verdict"], receipt["killed"]) == ("done", False), receipt
    assert s.lines("hermes").count("bye") == 4


def test_a_changed_NonBlocking_comes_when_nobody_has_the_listener(broker, tmp_path):
    s = Scene(broker, tmp_path, {"hermes": "NonBlocking=no\n" + NOTIFY})
    s.components["hermes"] = NOTIFY
    s.apply()
    assert not is_non_blocking(*pids(s)), "changed under a living holder, which may hang or fail by it"
    s.receipt("STOP", "hermes")
    s.receipt("START", "hermes")
    assert is_non_blocking(*pids(s))


def test_brokers_with_their_control_sockets_in_one_folder_do_not_hear_each_other_s_components(broker, tmp_path):
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    one = Scene(broker, folders[0], {"hermes": "Type=notify-reload\n"})
    control = os.path.join(one.broker.folder, "other.sock")
    other = Scene(broker, folders[1], {"hermes": "Type=notify-reload\n"}, control=control)
    for s in (one, other, one):
        assert s.receipt("RELOAD", "hermes")["verdict"] == "done", s.broker.log()
    assert other.receipt("RESTART", "hermes")["verdict"] == "serves"
    assert one.receipt("RELOAD", "hermes")["verdict"] == "done", one.broker.log()


def test_what_a_broker_left_of_its_components_sockets_is_removed_by_the_next(broker, tmp_path):
    def left():
        return sorted(name.rpartition(".notify-")[2] for name in os.listdir(folder) if ".notify-" in name)

    s = Scene(broker, tmp_path, {"hermes": NOTIFY, "iris": NOTIFY})
    folder = s.broker.folder
    serving = pids(s) + pids(s, "iris")
    s.broker.kill()
    for pid in serving:
        end(pid)
    assert left() == ["hermes.1.1", "iris.1.1"]
    os.unlink(os.path.join(folder, "notify.sock"))
    s.broker = broker("", folder=folder)
    assert left() == []
