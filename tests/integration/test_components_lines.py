"""What components wrote is shown, and quoted, by the next broker, too."""
import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys

import pytest

from testing.broker import DEADLINE, FDPASS
from testing.process import memfd_of, until
from testing.ways import (WAYS, Command, collector, kill_broker, kill_keeper_then_broker, scene,  # noqa: F401
                          upgrade)

NOTIFY = "Type=notify\n"


def shown(s, *arguments):
    text = s.broker.fdpass("logs", "hermes", "--json", *arguments).stdout
    return [json.loads(line) for line in text.splitlines()]


def reload_hermes(s):
    """It writes a line."""
    os.kill(s.component("hermes")["instances"][0]["pid"], signal.SIGHUP)


def test_lines_and_their_numbers_go_on_whatever_becomes_of_the_broker(scene):
    s = scene(NOTIFY)
    s.do("hermes", "say=30")
    s.receipt("RESTART", "hermes")
    until(lambda: len(shown(s, "-n", "200")) == 32, "its lines, and two of the one before")
    for n, way in enumerate(WAYS, 1):
        before = shown(s, "-n", "200")
        way(s)
        assert shown(s, "-n", "200") == before, s.broker.log()
        reload_hermes(s)
        until(lambda n=n: len(shown(s, "-n", "200")) == 32 + n, "one more")
        assert shown(s, "-n", "200")[:-1] == before
        assert shown(s, "-n", "1")[0]["text"] == "reloads"
        assert [line["number"] for line in shown(s, "-n", "200")] == list(range(1, 33 + n))


@pytest.mark.parametrize("way", [kill_broker, upgrade, kill_keeper_then_broker])
def test_a_restart_that_fails_afterwards_quotes_what_was_written_before(scene, way):
    s = scene(NOTIFY)
    s.wait_state("hermes", "ready")
    gate = s.file("gate")
    s.components["hermes"] = NOTIFY + ("ExecStart=/bin/sh -c 'echo reads the configuration; echo asks the database; "
                                       f"while [ -e {gate} ]; do sleep 0.01; done; echo gives up; exit 7'\n")
    s.apply()
    waits = Command(s, "restart", "hermes")
    until(lambda: "asks the database" in s.lines("hermes"), "its words")
    way(s)
    gate.unlink()
    receipt = waits.receipt()
    assert (receipt["verdict"], receipt["generation"]) == ("kept", 2), s.broker.log()
    assert receipt["last_lines"] == ["reads the configuration", "asks the database", "gives up"]


def test_who_follows_sees_each_line_once(scene):
    s = scene(NOTIFY)
    s.do("hermes", "say=3")
    s.receipt("RESTART", "hermes")
    until(lambda: len(shown(s)) == 5, "its lines")
    follower = subprocess.Popen([FDPASS, "logs", "hermes", "-f", "--json", "-n", "3"], env=s.broker.environment(),
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        lines = [json.loads(follower.stdout.readline()) for _ in range(3)]
        for way in WAYS[:3]:
            way(s)
            reload_hermes(s)
            lines.append(json.loads(follower.stdout.readline()))
            until(lambda: shown(s, "-n", "1")[0] == lines[-1], "the same line")
    finally:
        follower.kill()
        follower.communicate(timeout=DEADLINE)
    assert [line["number"] for line in lines] == [3, 4, 5, 6, 7, 8]
    assert lines == shown(s, "-n", "6")


HALVES = """
import os, time
for n in range(100):
    os.write(1, b"half %d" % n)
    while not os.path.exists("gate-%d" % n): time.sleep(0.01)
    os.write(1, b" and half\\nwhole\\n")
"""


def test_a_line_without_an_end_is_whole_when_that_comes(scene, tmp_path):
    program = tmp_path / "halves"
    program.write_text(HALVES)
    s = scene(f"WorkingDirectory={tmp_path}\nExecStart={sys.executable} -IS {program}\nSockets=\n")
    s.wait_state("hermes", "ready")
    for n, way in enumerate(WAYS):
        def is_kept():
            with contextlib.suppress(AssertionError):  # it is made with the first line
                with open(memfd_of(s.broker.broker_pid, "fdpass-lines"), "rb") as memory:
                    return b"half %d\0" % n in memory.read()

        until(lambda: s.lines("hermes") == [f"half {k} and half" if half else "whole" for k in range(n)
                                            for half in (True, False)], lambda: s.lines("hermes"))
        until(is_kept, "the half of a line")
        way(s)
        (tmp_path / f"gate-{n}").touch()
        until(lambda: f"half {n} and half" in s.lines("hermes"), lambda: s.lines("hermes"))


FLOOD = """
import os, time
n = 0
while True:
    os.write(1, b"".join(b"said %d %s\\n" % (k, b"x" * (k % 90)) for k in range(n, n + 40)))
    n += 40
    time.sleep(0.0001)
"""


def test_killed_at_any_moment_of_a_flood_it_leaves_whole_lines(scene, tmp_path):
    program = tmp_path / "flood"
    program.write_text(FLOOD)
    s = scene(f"ExecStart={sys.executable} -IS {program}\nSockets=\n")
    s.wait_state("hermes", "ready")
    until(lambda: len(shown(s, "-n", "200")) > 100, "its lines")
    last = 0
    for _ in range(10):
        kill_broker(s)
        lines = shown(s, "-n", "200")
        assert 0 < len(lines) <= 200
        numbers = [line["number"] for line in lines]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) and numbers[-1] >= last
        last = numbers[-1]
        assert all(line["generation"] == 1 and line["instance"] == 0 for line in lines)
        # In the middle of reading, what had been read of a line may be gone with the broker.
        whole = [line["text"].split(" ") for line in lines]
        whole = [int(words[1]) for words in whole if len(words) == 3 and words[0] == "said" and words[1].isdigit() and
                 words[2] == "x" * (int(words[1]) % 90)]
        assert len(whole) >= len(lines) - 10
        assert whole == sorted(set(whole))


def test_broken_memory_of_lines_costs_lines_only(scene):
    """Whatever is written over them: the broker comes up, shows what it can, and remembers anew."""
    s = scene(NOTIFY)
    s.do("hermes", "say=20")
    s.receipt("RESTART", "hermes")
    until(lambda: len(shown(s)) == 22, "its lines")
    for n, damage in enumerate([b"\xff" * 4096, os.urandom(4096), b"\0" * 4096]):
        with open(memfd_of(s.broker.broker_pid, "fdpass-lines"), "r+b") as memory:
            memory.seek([300, 0, 264][n])
            memory.write(damage)
        kill_broker(s)
        assert s.state("hermes") == "ready"
        known = shown(s)
        reload_hermes(s)
        until(lambda: shown(s) and shown(s)[-1]["text"] == "reloads" and len(shown(s)) == len(known) + 1, "one more")
        before = shown(s)
        kill_broker(s)
        assert shown(s) == before


def test_lines_of_a_component_that_is_gone_are_gone(scene):
    s = scene(NOTIFY)
    s.do("hermes", "say=20")
    s.receipt("RESTART", "hermes")
    until(lambda: len(shown(s)) == 22, "its lines")
    path = memfd_of(s.broker.broker_pid, "fdpass-lines")
    assert os.stat(path).st_blocks > 0
    directives = s.components.pop("hermes")
    s.broker.write_config(s.config())
    s.broker.fdpass("apply", "--allow-close")
    until(lambda: not s.broker.status()["components"], "its end")
    assert os.stat(path).st_blocks == 0
    s.components["hermes"] = directives
    s.do("hermes", "")
    s.apply()
    s.wait_state("hermes", "ready")
    kill_broker(s)
    assert shown(s) == []


def test_on_a_terminal_a_long_name_does_not_indent_the_lines_of_others(broker):
    sections = "".join(f"[Component {name}]\nExecStart=sh -c 'echo here; exec sleep 3600'\n"
                       for name in ("a", "hermes", "x" * 25))
    terminal, theirs = pty.openpty()
    b = broker(sections, stderr=theirs, env={"TERM": "xterm", "NO_COLOR": "1"})
    os.close(theirs)
    text = b""
    try:
        while text.count(b" | here\r\n") < 3 and select.select([terminal], [], [], DEADLINE)[0]:
            text += os.read(terminal, 4096)
        lines = text.decode().split("\r\n")
        for wanted in ("a      | here", "hermes | here", "x" * 25 + " | here"):
            assert wanted in lines, lines
        b.stop()
    finally:
        os.close(terminal)
