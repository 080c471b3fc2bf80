"""RuntimeDirectory= and its like: there while any generation lives, gone after the last one."""
import os
import pathlib
import shutil
import signal
import time

import pytest

from testing.broker import children_of
from testing.scene import Scene, until

NOTIFY = "Type=notify\n"
LATER = "Restart=always\nRestartSec=1h\nRestartSteps=0\n"


class Place:
    """Where this user's runtime directories are, and a name there that nobody else has."""

    def __init__(self, folder):
        self.base = pathlib.Path("/run") if os.geteuid() == 0 else folder
        self.name = f"fdpass-test-{os.getpid()}-{time.monotonic_ns()}"
        self.path = self.base / self.name
        self.env = {"XDG_RUNTIME_DIR": str(folder), "XDG_STATE_HOME": str(folder)}


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    shutil.rmtree(place.path, ignore_errors=True)


@pytest.fixture
def scene(place, broker, tmp_path):  # in this order: the place goes when the broker is gone
    return lambda components, **kwargs: Scene(broker, tmp_path, components, env=place.env, **kwargs)


@pytest.mark.parametrize("handover", ["overlap", "stop-first"])
def test_a_runtime_directory_lives_as_long_as_a_generation(scene, place, handover):
    s = scene({"hermes": NOTIFY + f"Handover={handover}\nRuntimeDirectory={place.name}/a {place.name}/b\n"
                                  "RuntimeDirectoryMode=0750\n"
                                  "ExecStartPre=/bin/sh -c 'touch $${RUNTIME_DIRECTORY%%:*}/mark-$FDPASS_GENERATION'\n"
                                  "ExecStopPost=/bin/sh -c 'echo after $(ls $${RUNTIME_DIRECTORY%%:*})'\n"})
    inner = place.path / "a"
    assert inner.stat().st_mode & 0o7777 == 0o750 and (place.path / "b").is_dir()
    inode = inner.stat().st_ino
    (inner / "more" / "and").mkdir(parents=True)
    (inner / "away").symlink_to(s.folder)
    assert s.receipt("RESTART", "hermes")["verdict"] == "serves"
    assert (inner.stat().st_ino, (inner / "mark-1").exists()) == (inode, True)
    assert s.receipt("STOP", "hermes")["verdict"] == "done"
    # When the receipt is there it is gone, and nothing but it.
    assert (inner.exists(), (place.path / "b").exists(), place.path.exists()) == (False, False, True)
    assert (s.folder / "hermes.env").exists()
    assert "after away mark-1 mark-2 more" in s.lines("hermes")  # the end's commands still had it
    assert s.receipt("START", "hermes")["verdict"] == "serves"
    assert os.listdir(inner) == ["mark-3"]


@pytest.mark.parametrize("end", ["stop", "crash"])
def test_a_start_that_comes_while_it_is_being_removed_waits_for_that(scene, place, end):
    s = scene({"hermes": NOTIFY + "Restart=no\n" + f"RuntimeDirectory={place.name}\n"
                                  "ExecStartPre=/bin/sh -c 'touch $RUNTIME_DIRECTORY/mark'\n"})
    for n in range(2000):  # takes some time to go
        os.mknod(place.path / str(n))
    if end == "stop":
        stop = s.job("STOP", "hermes")
        stop.step("ended", "hermes")
    else:
        os.kill(s.pids("hermes")[1], signal.SIGKILL)
        s.wait_state("hermes", "failed")
    assert s.receipt("START", "hermes")["verdict"] == "serves"
    if end == "stop":
        stop.wait()
    assert os.listdir(place.path) == ["mark"]


@pytest.mark.parametrize("preserve, when_it_waits, at_the_end",
                         [("no", False, False), ("restart", True, False), ("yes", True, True)])
def test_what_is_preserved_and_until_when(scene, place, preserve, when_it_waits, at_the_end):
    s = scene({"hermes": NOTIFY + LATER + f"RuntimeDirectory={place.name}\nRuntimeDirectoryPreserve={preserve}\n"})
    (place.path / "mark").touch()
    os.kill(s.pids("hermes")[1], signal.SIGKILL)
    s.wait_state("hermes", "back-off")
    if not when_it_waits:
        until(lambda: not place.path.exists(), "the removal")
    else:
        # The next turn of the component would have done it: this one comes after it.
        s.apply()
        assert (place.path / "mark").exists()
    assert s.receipt("STOP", "hermes")["verdict"] in ("done", "nothing")
    assert (place.path / "mark").exists() == at_the_end


def test_the_end_of_the_broker_and_the_end_of_the_component_remove_it(scene, place):
    s = scene({"hermes": NOTIFY + f"RuntimeDirectory={place.name}/a\n",
               "iris": NOTIFY + f"RuntimeDirectory={place.name}/b\n"}, more="[Broker]\nStopComponents=yes\n")
    assert (place.path / "a").is_dir() and (place.path / "b").is_dir()
    del s.components["hermes"]
    s.apply()
    until(lambda: s.component("hermes") is None, "the end of hermes")
    assert not (place.path / "a").exists()
    s.broker.stop()
    assert place.path.is_dir() and not (place.path / "b").exists()


def test_after_the_broker_s_death_the_next_one_removes_it(scene, place):
    s = scene({"hermes": NOTIFY + f"RuntimeDirectory={place.name}\n"})
    broker = s.broker.broker_pid
    os.kill(broker, signal.SIGKILL)
    until(lambda: s.broker.broker_pid != broker, "the next broker")
    assert s.instances("hermes") == {(1, 0): "ready"} and place.path.is_dir()
    s.receipt("STOP", "hermes")
    assert not place.path.exists()


def is_met_at_the_removal(s, place):
    """The broker is stopped, and the child of it that removes the directory; False: we came too late."""
    for n in range(20000):  # takes some time to go
        os.mknod(place.path / str(n))
    broker = s.broker.broker_pid
    stop = s.job("STOP", "hermes").step("ended", "hermes")
    until(lambda: children_of(broker) or not place.path.exists(), "the child that removes it")
    os.kill(broker, signal.SIGSTOP)
    for child in children_of(broker):
        os.kill(child, signal.SIGSTOP)  # the broker does not collect it
    if place.path.exists():
        return True
    os.kill(broker, signal.SIGCONT)
    stop.wait()
    assert s.receipt("START", "hermes")["verdict"] == "serves"
    return False


def test_what_a_broker_that_died_left_of_it_the_next_one_removes(scene, place):
    s = scene({"hermes": NOTIFY + f"RuntimeDirectory={place.name}\n"})
    broker = s.broker.broker_pid
    until(lambda: is_met_at_the_removal(s, place), "the child that removes it")
    os.kill(broker, signal.SIGKILL)
    assert place.path.is_dir()
    until(lambda: s.broker.broker_pid != broker, "the next broker")
    until(lambda: not place.path.exists(), "the removal")
    assert s.state("hermes") == "stopped"
    # Once, and not whatever is there later.
    place.path.mkdir()
    broker = s.broker.broker_pid
    os.kill(broker, signal.SIGKILL)
    until(lambda: s.broker.broker_pid != broker, "another broker")
    s.apply()  # the next turn of the component would have done it: this one comes after it
    assert place.path.is_dir()
    assert s.receipt("START", "hermes")["verdict"] == "serves"


def test_one_that_cannot_be_made_leaves_the_old_generation(scene, place):
    s = scene({"hermes": NOTIFY})
    place.path.touch()
    try:
        s.components["hermes"] = NOTIFY + f"RuntimeDirectory={place.name}\n"
        s.apply()
        receipt = s.receipt("RESTART", "hermes")
        assert (receipt["verdict"], receipt["reason"]) == \
            ("kept", f"making its runtime directory ({place.path}): Not a directory")
        assert s.generation("hermes") == 1
    finally:
        place.path.unlink()


def test_what_cannot_be_removed_is_said_and_holds_up_nothing(scene, place):
    s = scene({"hermes": NOTIFY + f"RuntimeDirectory={place.name}\n"})
    place.path.rmdir()
    place.path.symlink_to(s.folder)
    try:
        assert s.receipt("STOP", "hermes")["verdict"] == "done"
        s.wait_log(f"hermes: its RuntimeDirectory= could not be removed: {place.path}: Not a directory")
        assert (s.folder / "hermes.env").exists()
    finally:
        place.path.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be led astray")
def test_a_link_in_the_place_of_its_log_leaves_the_old_generation(scene, place, tmp_path):
    place.path.mkdir()
    log, victim = place.path / "out", tmp_path / "victim"
    victim.write_text("as it was")
    s = scene({"hermes": NOTIFY + f"StandardOutput=append:{log}\nExecStartPre=/bin/echo mark\n"})
    assert log.read_text().count("mark\n") == 1
    os.chown(place.path, 12345, 12345)
    assert s.receipt("RESTART", "hermes")["verdict"] == "serves"
    assert log.read_text().count("mark\n") == 2
    log.rename(place.path / "before")
    log.symlink_to(victim)
    receipt = s.receipt("RESTART", "hermes")
    assert (receipt["verdict"], receipt["reason"]) == \
        ("kept", "opening its standard output (out is a symbolic link that not only root can change, so name its target: "
                 f"{log}): Operation not permitted")
    assert victim.read_text() == "as it was"
    assert s.generation("hermes") == 2
