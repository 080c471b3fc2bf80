"""`fdpass start`, `stop`, `restart`, `logs`, `status` and their verbs, against components that run."""
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

from testing.broker import DEADLINE, FDPASS, end_both, free_address
from testing.process import end, until

#: A component that does what files in its folder tell it: see Component.
PROGRAM = textwrap.dedent("""
    import array, os, select, signal, socket, sys, time
    folder = sys.argv[1]
    def there(name):
        return os.path.exists(os.path.join(folder, name))
    def notify(text, fds=()):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = os.environ["NOTIFY_SOCKET"]
        s.connect("\\0" + path[1:] if path[0] == "@" else path)
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        s.sendmsg([text.encode()], control)
        s.close()
    generation = os.environ["FDPASS_GENERATION"]
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    print("generation", generation, "has", " ".join(names), flush=True)
    print("grumble", file=sys.stderr, flush=True)
    for i, name in enumerate(names):
        if name.startswith("kept"):
            print(name, "says", os.pread(3 + i, 100, 0).decode(), flush=True)
    if there("fail"):
        print("cannot open the database", file=sys.stderr, flush=True)
        sys.exit(3)
    while there("wait"):
        time.sleep(0.01)
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    if there("store"):
        for n in range(3):
            fd = os.memfd_create("m")
            os.write(fd, b"%d of %s" % (n, generation.encode()))
            notify("FDSTORE=1\\nFDNAME=kept", [fd, fd])
        notify("FDSTORE=1\\nFDNAME=other", [fd])
        fd = os.memfd_create("other")
        os.write(fd, b"other")
        notify("FDSTORE=1\\nFDNAME=kept-other", [fd])
    if there("remove"):
        notify("FDSTOREREMOVE=1\\nFDNAME=kept")
    notify("READY=1\\nSTATUS=serving")
    listener = socket.socket(fileno=3)
    listener.setblocking(False)
    said = 0
    while not stop or there("linger"):
        if select.select([listener], [], [], 0.01)[0]:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                continue
            connection.settimeout(None)
            connection.sendall(generation.encode())
            connection.close()
        while os.path.exists(os.path.join(folder, "say-%d" % said)):
            print("said", said, flush=True)
            said += 1
    print("bye from", generation, flush=True)
""")


class Hermes:
    """A broker with one component, and the files by which the program is told what to do."""

    def __init__(self, broker, tmp_path, more=""):
        self.folder = tmp_path
        self.address = free_address()
        program = tmp_path / "program.py"
        program.write_text(PROGRAM)
        self.config = (f"[Socket web]\nListenStream={self.address[0]}:{self.address[1]}\n"
                       f"[Component hermes]\nSockets=web\nType=notify\nTimeoutStartSec={DEADLINE}\n"
                       f"TimeoutStopSec={DEADLINE}\nExecStart={sys.executable} {program} {tmp_path}\n{more}")
        self.broker = broker(self.config)
        until(lambda: self.component()["state"] == "ready", "the first generation")

    def tell(self, name):
        (self.folder / name).touch()

    def untell(self, name):
        (self.folder / name).unlink()

    def component(self):
        return self.broker.status()["components"][0]

    def states(self):
        return {i["generation"]: i["state"] for i in self.component()["instances"]}

    def who_answers(self):
        with socket.create_connection(self.address, timeout=DEADLINE) as connection:
            return int(connection.recv(100))

    def lines(self, *arguments):
        text = self.broker.fdpass("logs", "hermes", "--json", *arguments).stdout
        return [json.loads(line) for line in text.splitlines()]

    def start(self, *arguments):
        """A command in the background."""
        return subprocess.Popen([FDPASS, *arguments], env=self.broker.environment(), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def hermes(broker, tmp_path):
    return lambda more="": Hermes(broker, tmp_path, more)


# ---- receipts --------------------------------------------------------------------------------------------------


def test_a_restart_tells_what_happens_and_ends_with_a_receipt(hermes):
    h = hermes()
    done = h.broker.fdpass("restart", "hermes")
    assert "hermes: generation 2 starting (pid " in done.stderr
    assert "hermes: generation 2 ready" in done.stderr
    assert done.stdout.startswith("hermes: generation 2 serves (was 1); ready after ")
    assert "; 1 drained in " in done.stdout
    assert done.stdout.endswith("; 0 connections dropped\n")
    assert "\033" not in done.stdout + done.stderr
    assert h.who_answers() == 2


def test_of_several_instances_each_is_named_in_the_progress(hermes):
    h = hermes("Instances=2\n")
    said = h.broker.fdpass("restart", "hermes").stderr
    for n in (1, 2):
        for what in ("2 starting", "2 ready", "1 draining", "1 ended"):
            assert f"\nhermes.{n}: generation {what} (pid " in "\n" + said, said


def test_a_restart_as_json_is_the_receipt_alone(hermes):
    h = hermes()
    done = h.broker.fdpass("restart", "hermes", "--json")
    receipt = json.loads(done.stdout)
    assert done.stderr == ""
    assert (receipt["kind"], receipt["result"], receipt["schema"]) == ("restart", "good", 1)
    one, = receipt["components"]
    assert one["name"] == "hermes" and one["verdict"] == "serves" and one["asked_for"]
    assert (one["generation_before"], one["generation"], one["drained"], one["killed"]) == (1, 2, True, False)
    assert one["drops"] == 0 and one["last_lines"] == [] and one["held_on"] == []


def test_a_restart_that_fails_keeps_the_old_generation_and_shows_the_last_lines(hermes):
    h = hermes()
    h.tell("fail")
    done = h.broker.fdpass("restart", "hermes", check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "hermes: kept generation 1: generation 2 does not serve: exited with status 3" in done.stderr
    assert "\n    cannot open the database\n" in done.stderr
    assert h.who_answers() == 1
    done = h.broker.fdpass("restart", "hermes", "--json", check=False)
    assert done.returncode == 1
    receipt = json.loads(done.stdout)
    assert receipt["result"] == "bad" and receipt["components"][0]["verdict"] == "kept"
    assert "cannot open the database" in receipt["components"][0]["last_lines"]


def test_stop_start_pause_resume_and_reload(hermes):
    h = hermes("ExecReload=/bin/echo reloaded")
    assert h.broker.fdpass("reload", "hermes").stdout == "hermes: reloaded\n"
    assert "reloaded" in [line["text"] for line in h.lines()]
    assert h.broker.fdpass("stop", "hermes").stdout.startswith("hermes: stopped; 1 drained in ")
    assert h.component()["state"] == "stopped"
    assert h.broker.fdpass("stop", "--all").stdout == "hermes: nothing to do\n"
    assert h.broker.fdpass("start", "--all").stdout.startswith("hermes: generation 2 serves; ready after ")
    assert h.broker.fdpass("pause", "hermes").stdout.startswith("hermes: paused; 2 drained in ")
    assert h.component()["state"] == "paused"
    with socket.create_connection(h.address, timeout=DEADLINE) as waits:
        h.broker.fdpass("resume", "hermes")
        assert waits.recv(100) == b"3"


def test_stop_without_waiting_comes_back_while_the_component_still_drains(hermes):
    h = hermes()
    h.tell("linger")
    done = h.broker.fdpass("stop", "hermes", "--no-wait", "--json")
    assert h.states() == {1: "draining"}
    job = json.loads(done.stdout)["job"]
    h.untell("linger")
    with h.broker.client(timeout=DEADLINE) as client:
        client.send("STOP", NAMES="hermes", JOB=job)
        answer = last_answer(client)
        assert answer["RESULT"] == "good" and answer["JOB"] == job
        assert answer.document()["components"][0]["verdict"] == "done"


def test_who_waits_is_told_that_there_is_no_broker_for_the_time_being(hermes):
    """Keeper and broker are gone: nobody starts the next one, and the command looks for it in silence no more."""
    h = hermes()
    h.tell("linger")
    waits = subprocess.Popen([FDPASS, "stop", "hermes"], env=h.broker.environment(), stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: h.states() == {1: "draining"}, h.states)
        end_both(*h.broker.pids())
        lines = iter(waits.stderr.readline, "")
        text = next(line for line in lines if "went away" in line)
        assert text == "fdpass: the broker went away; waiting 60 s for the next one, which goes on with it\n"
        assert waits.poll() is None
    finally:
        waits.kill()
        waits.communicate()
        h.untell("linger")


@pytest.mark.parametrize("arguments, status, text", [
    (("restart",), 2, "name a component, or say --all"),
    (("restart", "--all", "hermes"), 2, "do not go together"),
    (("restart", "hermez"), 6, "there is no component 'hermez'. Did you mean 'hermes'?"),
    (("restart", "hermes.service"), 6, "there is no component 'hermes.service'. Did you mean 'hermes'?"),
    (("restart", "x.service"), 6, "there is no component 'x.service'. 'fdpass status' shows"),
    (("stop", "hermes", "engram"), 6, "there is no component 'engram'"),
    (("stop", "a/b"), 6, "there is no component 'a/b'"),
    (("start", *(["hermes"] * 65)), 2, "at most 64 at once"),
    (("start", *("x" * 200 for _ in range(30))), 2, "too long for one request"),
    (("logs",), 2, "name one component"),
    (("logs", "hermes", "-n", "many"), 2, "is no number"),
    (("logs", "hermez"), 6, "Did you mean 'hermes'?"),
    (("status", "hermez"), 6, "there is no listener or component 'hermez', or none that this user may see. Did you mean 'hermes'?"),
])
def test_what_cannot_be_asked_for(hermes, arguments, status, text):
    h = hermes()
    done = h.broker.fdpass(*arguments, check=False)
    assert (done.returncode, done.stdout) == (status, "")
    assert text in done.stderr
    assert h.component()["generation"] == 1


# ---- jobs go on ------------------------------------------------------------------------------------------------


def last_answer(client):
    """What comes after the events."""
    while (packet := client.receive()).first.startswith("EVENT="):
        packet.close()
    return packet


@pytest.mark.root
def test_who_may_not_operate_is_told_who_may(broker):
    b = broker("[Component a]\nExecStart=sleep 3600\n")
    for command in (("restart", "a"), ("stop", "--all"), ("logs", "a"), ("apply",)):
        done = b.fdpass(*command, check=False, user=65534, group=65534, extra_groups=[])
        assert done.returncode == 5 and not done.stdout, done
        assert done.stderr == (f"fdpass: {command[0].upper()} is for root, the broker's own user, and whom Operators= "
                               "in [Broker] names\n")


def test_ctrl_c_ends_the_waiting_and_not_the_job(hermes):
    h = hermes()
    h.tell("wait")
    command = h.start("restart", "hermes")
    until(lambda: h.states().get(2) == "starting", "the second generation")
    command.send_signal(signal.SIGINT)
    _, said = command.communicate(timeout=DEADLINE)
    assert command.returncode == -signal.SIGINT
    assert "The broker goes on with it" in said
    h.untell("wait")
    until(lambda: h.states() == {2: "ready"}, "the end of the restart")


def test_the_broker_notices_that_who_waits_is_gone(hermes):
    h = hermes()
    h.tell("wait")

    def sessions():
        return h.broker.status()["broker"]["sessions"]  # that one included; one that has just ended may be, too

    until(lambda: sessions() == 1, "no other")
    client = h.broker.client()
    client.send("RESTART", NAMES="hermes", JOB="gone")
    until(lambda: h.states().get(2) == "starting", "the second generation")
    until(lambda: sessions() == 2, "the session alone")
    client.close()
    until(lambda: sessions() == 1, "the session's end")
    h.untell("wait")
    with h.broker.client(timeout=DEADLINE) as again:
        again.send("RESTART", NAMES="hermes", JOB="gone")
        answer = last_answer(again)
        assert answer["RESULT"] == "good"
        answer.close()
    assert h.component()["generation"] == 2


def test_a_job_is_done_once_however_often_it_is_asked_for(hermes):
    h = hermes()
    with h.broker.client(timeout=DEADLINE) as client:
        for _ in range(3):
            client.send("RESTART", NAMES="hermes", JOB="once", SERIAL="s")
            answer = last_answer(client)
            assert answer.ok and answer["SERIAL"] == "s"
            assert answer.document()["components"][0]["generation"] == 2
        assert client.request("STOP", NAMES="hermes", JOB="once").first == "ERROR=EINVAL"
    assert h.who_answers() == 2


def test_while_it_waits_for_a_job_a_session_is_not_read(hermes):
    h = hermes()
    h.tell("wait")
    with h.broker.client(timeout=DEADLINE) as client:
        client.send("RESTART", NAMES="hermes", SERIAL="first")
        client.send("HELLO", SERIAL="second")
        until(lambda: h.states().get(2) == "starting", "the second generation")
        h.untell("wait")
        steps = []
        while (packet := client.receive()).first == "EVENT=PROGRESS":
            assert packet["COMPONENT"] == "hermes" and packet["TEXT"].startswith("hermes: generation ")
            steps.append((packet["STEP"], packet["GENERATION"]))
        assert packet["SERIAL"] == "first" and packet["RESULT"] == "good"
        packet.close()
        assert ("ready", "2") in steps and ("draining", "1") in steps
        assert client.receive()["SERIAL"] == "second"


def test_the_command_gets_its_verdict_from_the_next_broker(hermes):
    h = hermes()
    h.tell("wait")
    command = h.start("restart", "hermes", "--json")
    until(lambda: h.states().get(2) == "starting", "the second generation")
    old = h.broker.broker_pid
    os.kill(old, signal.SIGKILL)
    until(lambda: h.broker.broker_pid != old, "the next broker")
    h.untell("wait")
    out, said = command.communicate(timeout=DEADLINE)
    assert command.returncode == 0, said
    one, = json.loads(out)["components"]
    assert one["verdict"] == "serves"
    assert until(lambda: len(found := h.states()) == 1 and found, "one generation") == {one["generation"]: "ready"}
    assert h.who_answers() == one["generation"]


def test_a_reload_does_not_end_who_does_not_catch_sighup(broker):
    b = broker("[Component a]\nExecStart=sleep 3600\n")
    until(lambda: b.status()["components"][0]["state"] == "ready", "it")
    said = b.fdpass("restart", "a").stdout  # of queues and connections there is nothing to say
    assert re.fullmatch(r"a: generation 2 serves \(was 1\); ready after .* by running(; 1 drained in [^;]*)?\n", said), said
    done = b.fdpass("reload", "a", check=False)
    logs = b.fdpass("logs", "a")  # nothing at all would look like a failure of the command
    assert (logs.stdout, logs.stderr) == ("", "a has written nothing that the broker remembers.\n")
    for none in ("0", "000"):
        assert b.fdpass("logs", "a", "--json").stderr == "" == b.fdpass("logs", "a", "-n", none).stderr
    assert b.fdpass("logs", "a", "-n", "99999").stderr == logs.stderr
    for bad in ("", "x", "5x", "-1", "+1", " 1", "0x1", "100000", "4294967296"):
        refused = b.fdpass("logs", "a", f"--lines={bad}", check=False)
        assert refused.returncode == 2 and f"--lines={bad} is no number from 0 to 99999" in refused.stderr, refused
    assert done.returncode == 1
    assert done.stderr.startswith("a: not reloaded, and generation 2 goes on: it does not catch SIGHUP, which would end "
                                  "it: set ExecReload=")
    assert [i["state"] for i in b.status()["components"][0]["instances"]] == ["ready"]
    b.fdpass("stop", "a")
    assert b.fdpass("reload", "a", check=False).stderr == "a: not reloaded: it does not run\n"


def test_who_fails_and_is_tried_again_says_so_and_a_stop_ends_that(broker):
    config = ("[Component a]\nExecStart=false\nType=notify\nStart=manual\nRestartSec=60\n"
              "[Component b]\nExecStart=false\nType=notify\nStart=manual\nRestart=no\n")
    b = broker(config)
    said = b.fdpass("start", "a", check=False).stderr
    assert "a: failed: generation 1 does not serve: exited with status 1 before it was ready\n" in said
    assert said.endswith(" s; 'fdpass stop a' ends that.\n") and "  It is started again in " in said
    assert b.fdpass("stop", "a").stdout == "a: stopped\n"
    assert b.fdpass("stop", "a").stdout == "a: nothing to do\n"
    said = b.fdpass("start", "b", check=False).stderr
    assert "started again" not in said and "listeners" not in said
    assert "b failed: exited with status 1 before it was ready. `fdpass start b` tries again" in b.log()


def test_who_was_not_started_with_the_broker_because_another_failed_is_shown_as_that(broker):
    b = broker("[Component db]\nType=notify\nRestart=no\nExecStart=false\n"
               "[Component api]\nRequires=db\nAfter=db\nExecStart=sleep 3600\n")
    until(lambda: [c["state"] for c in b.status()["components"]] == ["failed", "failed"], "both")
    reason = "it requires db, which failed"
    assert reason in next(line for line in b.fdpass("status").stdout.splitlines() if line.startswith("api "))
    assert f"api is not started: {reason}. `fdpass start api` tries again" in b.log()
    b.write_config("[Component db]\nExecStart=sleep 3600\n"
                   "[Component api]\nRequires=db\nAfter=db\nExecStart=sleep 3600\n")
    assert "have failed before: 'fdpass start api db'\n" in b.fdpass("apply").stdout
    b.fdpass("restart", "--all")
    assert [(c["state"], c["reason"]) for c in b.status()["components"]] == [("ready", None)] * 2
    b.write_config("[Component db]\nType=notify\nRestart=no\nExecStart=false\n"
                   "[Component api]\nRequires=db\nAfter=db\nExecStart=sleep 3600\n")
    b.fdpass("apply")
    b.fdpass("stop", "db")
    assert "api: not started: it requires db, which failed" in b.fdpass("start", "api", check=False).stderr
    said = b.fdpass("restart", "api", "db", check=False).stderr
    generation = b.status()["components"][0]["generation"]
    assert f"api: not restarted, and generation {generation} goes on: it requires db, which failed" in said
    assert b.status()["components"][0]["state"] == "ready"  # it was running, and does


def test_what_is_only_wanted_may_fail_and_is_told(broker):
    db = "[Component db]\nType=notify\nStart=manual\nRestart=no\nExecStart=false\n"
    web = "[Component web]\nAfter=db\nStart=manual\nExecStart=sleep 3600\n"
    b = broker(f"{db}{web}Wants=db\n[Component api]\nAfter=db\nStart=manual\nExecStart=sleep 3600\nRequires=db\n")
    done = b.fdpass("start", "web")
    assert "web: generation 1 serves" in done.stdout and "db: failed: " in done.stdout
    b.fdpass("stop", "web")
    assert b.fdpass("start", "web", "db", check=False).returncode == 1
    assert b.fdpass("start", "api", check=False).returncode == 1


def test_apply_says_which_components_run_on_as_they_were_and_which_have_failed(broker):
    config = "[Component a]\nExecStart=sleep 3600\n[Component b]\nExecStart=false\nType=notify\nRestart=no\n"
    b = broker(config)
    until(lambda: [c["state"] for c in b.status()["components"]] == ["ready", "failed"], "both")
    said = b.fdpass("apply").stdout
    assert "run on" not in said and "have failed before: 'fdpass start b'\n" in said
    b.write_config(config.replace("sleep 3600", "sleep 3601"))
    assert "that they were started with: 'fdpass restart a'\n" in b.fdpass("apply").stdout
    b.fdpass("restart", "a")
    assert "run on" not in b.fdpass("apply").stdout


def test_apply_names_the_components_that_it_adds_and_removes(broker):
    sections = {name: f"[Component {name}]\nExecStart=sleep 3600\n" for name in "abc"}
    web = "[Socket web]\nListenStream=%s:%d\n" % free_address()
    b = broker("".join(sections.values()) + web)
    b.write_config(sections["b"] + web)
    assert "Components removed, which are stopped now: a c\n" in b.fdpass("apply").stdout
    until(lambda: [c["name"] for c in b.status()["components"]] == ["b"], "their end")
    assert "Components" not in b.fdpass("apply").stdout
    b.write_config("".join(sections.values()) + web)
    assert "Components added: a c\n" in b.fdpass("apply").stdout
    b.write_config(sections["b"] + web)
    assert json.loads(b.fdpass("apply", "--json").stdout)["added_components"] == []
    until(lambda: [c["name"] for c in b.status()["components"]] == ["b"], "their end")
    b.write_config("")
    said = json.loads(b.fdpass("apply", "--json", check=False).stdout)
    assert (said["ok"], said["removed_components"]) == (False, [])  # it would close web, and has done nothing
    said = json.loads(b.fdpass("apply", "--allow-close", "--json").stdout)
    assert (said["ok"], said["closed"], said["removed_components"]) == (True, 1, ["b"])


@pytest.mark.parametrize("start, state, hint", [
    ("manual", "stopped", "Start the component with 'fdpass start a'."),
    ("on-demand", "waiting", "a starts with the first connection."),
])
def test_a_listener_that_nobody_holds_comes_with_the_next_step(broker, start, state, hint):
    address = "%s:%d" % free_address()
    b = broker(f"[Socket a]\nListenStream={address}\n[Component a]\nSockets=a\nStart={start}\nExecStart=sleep 9\n")
    assert b.status()["components"][0]["state"] == state
    assert hint in b.fdpass("status", "a").stdout


def test_who_binds_by_itself_is_told_what_it_was_given(broker):
    address = "%s:%d" % free_address()
    b = broker(f"[Socket a]\nListenStream={address}\n[Component a]\nSockets=a\nStart=manual\nType=notify\n"
               f"ExecStart={sys.executable} -m http.server --bind {address.replace(':', ' ')}\n")
    done = b.fdpass("start", "a", check=False)
    assert done.returncode == 1 and "from descriptor 3 on: see Sockets= in fdpass.conf(5)" in done.stderr


# ---- output ----------------------------------------------------------------------------------------------------


def test_logs_show_generations_and_what_is_written_in_its_order(hermes):
    h = hermes()
    until(lambda: len(h.lines()) == 2, "two lines")
    h.broker.fdpass("restart", "hermes")
    until(lambda: len(h.lines()) == 5, "all lines")
    lines = [(line["generation"], line["error"], line["text"]) for line in h.lines()]
    first = [(1, False, "generation 1 has web"), (1, False, "grumble"), (1, False, "bye from 1")]
    second = [(2, False, "generation 2 has web"), (2, False, "grumble")]
    assert sorted(lines) == sorted(first + second)
    assert [line for line in lines if line[0] == 1] == first and [line for line in lines if line[0] == 2] == second
    assert [line["number"] for line in h.lines()] == [1, 2, 3, 4, 5]
    assert [line["number"] for line in h.lines("-n", "2")] == [4, 5]
    assert h.lines("--lines=0") == []
    text = h.broker.fdpass("logs", "hermes").stdout
    assert " 1 | generation 1 has web\n" in text and " 2 | grumble\n" in text


def test_the_last_lines_of_the_receipt_are_in_the_order_of_writing(broker, tmp_path):
    """Written to the one and the other in turns, while the broker could not read any."""
    program = tmp_path / "turns"
    program.write_text("touch up; until [ -e go ]; do sleep 0.01; done\n"
                       "for n in 1 3 5 7; do echo $n; echo $((n + 1)) >&2; done; touch done; exit 1\n")
    b = broker(f"[Component a]\nStart=manual\nType=notify\nRestart=no\nWorkingDirectory={tmp_path}\n"
               f"ExecStart=sh {program}\n")
    command = subprocess.Popen([FDPASS, "start", "a", "--json"], env=b.environment(), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    until((tmp_path / "up").exists, "its start")
    pid = b.broker_pid
    os.kill(pid, signal.SIGSTOP)
    (tmp_path / "go").touch()
    until((tmp_path / "done").exists, "its words")
    os.kill(pid, signal.SIGCONT)
    receipt, = json.loads(command.communicate(timeout=DEADLINE)[0])["components"]
    assert receipt["last_lines"] == [str(n) for n in range(1, 9)]


def test_a_standard_error_that_is_told_apart_is_marked(hermes):
    h = hermes("StandardError=journal\n")
    until(lambda: len(h.lines()) == 2, "two lines")
    assert {(line["error"], line["text"]) for line in h.lines()} == {(False, "generation 1 has web"), (True, "grumble")}
    assert " 1 ! grumble\n" in h.broker.fdpass("logs", "hermes").stdout


def test_logs_follow_and_go_on_after_the_broker_died(hermes):
    h = hermes()
    until(lambda: len(h.lines()) == 2, "two lines")
    command = h.start("logs", "hermes", "-f", "-n", "0")
    try:
        # It is there when it shows what is said; what was said before it came it does not show.
        n = 0
        while not select.select([command.stdout], [], [], 0.1)[0]:
            h.tell(f"say-{n}")
            n += 1
        first = int(command.stdout.readline().rpartition(" ")[2])
        for number in range(first + 1, n):
            assert command.stdout.readline().endswith(f"| said {number}\n")
        old = h.broker.broker_pid
        os.kill(old, signal.SIGKILL)
        until(lambda: h.broker.broker_pid != old, "the next broker")
        h.tell(f"say-{n}")
        assert command.stdout.readline().endswith(f"| said {n}\n")
        h.tell(f"say-{n + 1}")
        assert command.stdout.readline().endswith(f"| said {n + 1}\n")
    finally:
        command.kill()
        command.communicate()


@pytest.mark.parametrize("misses_it", [False, True])
def test_logs_follow_ends_with_the_component(hermes, misses_it):
    """After its last words; also when the broker died meanwhile, and it has to ask the next one."""
    h = hermes()
    until(lambda: len(h.lines()) == 2, "two lines")
    command = h.start("logs", "hermes", "-f")
    try:
        assert command.stdout.readline().endswith("| generation 1 has web\n")
        assert command.stdout.readline().endswith("| grumble\n")
        if misses_it:
            command.send_signal(signal.SIGSTOP)
            old = h.broker.broker_pid
            os.kill(old, signal.SIGKILL)
            until(lambda: h.broker.broker_pid != old, "the next broker")
        h.broker.write_config(h.config.partition("[Component")[0])
        h.broker.fdpass("apply")
        until(lambda: not h.broker.status()["components"], "its end")
        command.send_signal(signal.SIGCONT)
        out, said = command.communicate(timeout=DEADLINE)
    finally:
        command.kill()
        command.communicate()
    assert command.returncode == 6
    assert "hermes was removed from the configuration and has ended" in said
    assert misses_it or out.endswith("| bye from 1\n")


def test_who_follows_and_does_not_read_is_told_of_what_it_missed(hermes):
    h = hermes()
    with h.broker.client(timeout=DEADLINE) as client:
        answer = client.request("LOGS", NAME="hermes", FOLLOW="1", LINES="0")
        assert answer.document()["lines"] == []
        for n in range(1000):
            h.tell(f"say-{n}")
        until(lambda: h.lines("-n", "1")[0]["text"] == "said 999", "all lines")
        numbers = []
        while (packet := client.receive()).first == "EVENT=LOG":
            assert packet["NAME"] == "hermes" and packet["ERROR"] == "0"
            numbers.append(int(packet["TEXT"].split()[1]))
        assert packet.first == "EVENT=OVERFLOW"
        assert numbers == list(range(len(numbers)))
        assert client.request("LOGS", NAME="hermes").document()["lines"][-1]["text"] == "said 999"


def test_logs_follow_outlives_a_flood_and_shows_its_end(broker, tmp_path):
    """The broker is ahead of whoever follows all the time, and has no moment to tell what was missed."""
    program = tmp_path / "flood"
    program.write_text("import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\n"
                       "for n in range(100000): os.write(1, b'said %d\\n' % n)\ntime.sleep(3600)\n")
    b = broker(f"[Component a]\nWorkingDirectory={tmp_path}\nExecStart={sys.executable} {program}\n")
    with open(tmp_path / "shown", "wb") as shown:
        commands = [subprocess.Popen([FDPASS, "logs", "a", "-f"], env=b.environment(), stdin=subprocess.DEVNULL,
                                     stdout=shown if n == 0 else subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                    for n in range(2)]
        try:
            until(lambda: b.status()["broker"]["sessions"] == 3, "both")
            (tmp_path / "go").touch()
            until(lambda: "said 99999\n" in (tmp_path / "shown").read_text() or commands[0].poll() is not None,
                  "its last line")
            assert commands[0].poll() is None, commands[0].stderr.read()
            numbers = [int(line.split()[-1]) for line in (tmp_path / "shown").read_text().splitlines()]
            assert numbers == sorted(set(numbers)) and numbers[-1] == 99999
        finally:
            for command in commands:
                command.kill()
                command.communicate()


# ---- status ----------------------------------------------------------------------------------------------------


def test_status_shows_components_beside_their_listeners(hermes):
    h = hermes("Description=the API")
    until(lambda: h.component()["instances"][0]["status"] == "serving", "what it says of itself")
    text = h.broker.fdpass("status").stdout
    first, second, *_ = text.splitlines()
    pid = h.component()["instances"][0]["pid"]
    assert first.split()[:6] == ["COMPONENT", "STATE", "GEN", "PID", "UPTIME", "RESTARTS"]
    assert second.split()[:4] == ["hermes", "ready", "1", str(pid)]
    assert "web" in text.split("\n\n")[1]
    alone = json.loads(h.broker.fdpass("status", "hermes", "--json").stdout)
    assert alone["listeners"] == [] and alone["broker"]["components"] == 1
    one, = alone["components"]
    assert (one["name"], one["description"], one["goal"], one["listeners"]) == (
        "hermes", "the API", "running", ["web"])
    assert (one["restarts"], one["last_end"], one["back_off_ms"], one["reason"]) == (0, None, None, None)
    assert json.loads(h.broker.fdpass("status", "web", "--json").stdout)["components"] == []
    assert h.broker.listener("web")["leases"][0]["how"] == "generation"


def test_status_shows_how_a_component_ended_and_when_it_is_started_again(hermes):
    h = hermes("Restart=always\nRestartSec=60")
    h.tell("fail")
    os.kill(h.component()["instances"][0]["pid"], signal.SIGKILL)
    one = until(lambda: (c := h.component())["state"] == "back-off" and c, "the back-off")
    assert one["last_end"]["text"] == "killed by SIGKILL"
    assert 0 < one["back_off_ms"] <= 60000
    row = h.broker.fdpass("status").stdout.splitlines()[1]
    assert "back-off" in row and "killed by SIGKILL" in row and "again in " in row


def test_the_table_names_the_pids_of_those_beside_the_one_that_serves(hermes):
    h = hermes()
    h.tell("linger")
    h.tell("wait")
    h.broker.fdpass("restart", "hermes", "--no-wait")
    until(lambda: h.states() == {1: "ready", 2: "starting"}, h.states)
    pids = {one["generation"]: one["pid"] for one in h.component()["instances"]}
    assert f"generation 2 starting (pid {pids[2]})" in h.broker.fdpass("status").stdout
    h.untell("wait")
    until(lambda: h.states() == {1: "draining", 2: "ready"}, h.states)
    assert f"generation 1 draining (pid {pids[1]})" in h.broker.fdpass("status").stdout
    h.untell("linger")


def test_the_table_has_what_a_component_without_listeners_says_of_itself(broker, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import os, signal, socket\n"
                       "with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:\n"
                       "    s.sendto(b'READY=1\\nSTATUS=three jobs wait', os.environ['NOTIFY_SOCKET'])\n"
                       "signal.pause()\n")
    b = broker(f"[Component worker]\nType=notify\nExecStart={sys.executable} {program}\n")
    until(lambda: "three jobs wait" in b.fdpass("status").stdout, "what it says of itself")


def test_a_changed_configuration_is_for_the_next_start(hermes):
    h = hermes()
    assert not h.component()["instances"][0]["outdated"]
    h.broker.write_config(h.config.replace("Type=notify", "Type=notify\nUMask=077"))
    h.broker.fdpass("apply")
    assert h.component()["instances"][0]["outdated"]
    assert "changed configuration" in h.broker.fdpass("status").stdout
    for _ in range(2):  # what was adopted is kept, too
        broker = h.broker.broker_pid
        end(broker)
        until(lambda old=broker: h.broker.broker_pid != old, "another broker")
        assert h.component()["instances"][0]["outdated"]
    h.broker.fdpass("upgrade")
    until(lambda: "upgraded in place" in h.broker.log(), h.broker.log)
    assert h.component()["instances"][0]["outdated"] and h.component()["instances"][0]["generation"] == 1
    h.broker.fdpass("restart", "hermes")
    assert not h.component()["instances"][0]["outdated"]


# ---- the store -------------------------------------------------------------------------------------------------


def stored(h):
    return [(s["name"], s["component"], s["uid"], s["descriptors"])
            for s in json.loads(h.broker.fdpass("store", "list", "--json").stdout)["stored"]]


def said_by(h, generation):
    return [line["text"] for line in h.lines() if line["generation"] == generation and line["text"] != "grumble"]


def test_what_a_component_stores_goes_to_its_next_generation(hermes):
    h = hermes("FileDescriptorStoreMax=4")
    h.tell("store")
    h.broker.fdpass("restart", "hermes")
    # Of each pair one is the same again, and so is "other".
    wanted = [("kept", "hermes", None, 1)] * 3 + [("kept-other", "hermes", None, 1)]
    assert until(lambda: len(found := stored(h)) == 4 and found, "the store") == wanted
    assert "component hermes" in h.broker.fdpass("store", "list").stdout
    h.untell("store")
    h.tell("remove")
    h.broker.fdpass("restart", "hermes")
    until(lambda: len(said_by(h, 3)) >= 5, "what it was given")
    assert said_by(h, 3)[:5] == ["generation 3 has web kept kept kept kept-other", "kept says 0 of 2",
                                 "kept says 1 of 2", "kept says 2 of 2", "kept-other says other"]
    assert until(lambda: len(found := stored(h)) == 1 and found, "FDSTOREREMOVE=1") == wanted[3:]
    done = h.broker.fdpass("store", "drop", "kept-other", "--component=engram", check=False)
    assert done.returncode == 6 and "has stored nothing" in done.stderr
    h.broker.fdpass("store", "drop", "kept-other", "--component=hermes")
    assert stored(h) == []


def test_more_than_a_component_may_store_is_not_kept(hermes):
    h = hermes("FileDescriptorStoreMax=2")
    h.tell("store")
    h.broker.fdpass("restart", "hermes")
    until(lambda: "FileDescriptorStoreMax= is reached" in h.broker.log(), "the refusal")
    assert stored(h) == [("kept", "hermes", None, 1)] * 2


def test_what_a_component_stored_survives_the_broker_and_goes_with_the_component(hermes):
    h = hermes("FileDescriptorStoreMax=4")
    h.tell("store")
    h.broker.fdpass("restart", "hermes")
    until(lambda: len(stored(h)) == 4, "the store")
    old = h.broker.broker_pid
    os.kill(old, signal.SIGKILL)
    until(lambda: h.broker.broker_pid != old, "the next broker")
    assert len(stored(h)) == 4
    h.untell("store")
    h.broker.fdpass("restart", "hermes")
    until(lambda: len(said_by(h, 3)) >= 5, "what it was given")
    assert said_by(h, 3)[0] == "generation 3 has web kept kept kept kept-other"
    h.broker.write_config(h.config.partition("[Component")[0])
    h.broker.fdpass("apply")
    until(lambda: stored(h) == [], "the end of the store")
    assert "what hermes stored as kept is dropped" in h.broker.log()
