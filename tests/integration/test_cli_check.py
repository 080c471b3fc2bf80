"""The command line itself, `fdpass check`, and what both say as JSON."""
import json
import os
import socket
import subprocess

import pytest
import threading

from testing.broker import FDPASS, clean_environment, free_address

GOOD = "[Socket web]\nListenStream=127.0.0.1:8080\nBacklog=77\nSocketMode=0660\nAccess=1000 @100\n"
BAD = "[Socket web]\nListenStream=nonsense\nBacklog=x\n"


def run(*arguments, **env):
    return subprocess.run([FDPASS, *map(str, arguments)], env=clean_environment(**env), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "fdpass.conf"
        path.write_text(text)
        return path
    return write


def test_a_right_configuration_is_printed_and_can_be_read_again(config, tmp_path):
    done = run("check", config(GOOD))
    assert done.returncode == 0 and done.stderr.endswith("fdpass.conf: 1 listener, ok\n"), done
    again = tmp_path / "again.conf"
    again.write_text(done.stdout)
    once_more = run("check", again)
    assert once_more.returncode == 0
    assert once_more.stdout.replace("again.conf", "fdpass.conf").split("\n")[3:] \
        .count("ListenStream=127.0.0.1:8080") == 1
    quiet = run("check", "--quiet", config(GOOD))
    assert quiet.returncode == 0 and quiet.stdout == "" and quiet.stderr.endswith("1 listener, ok\n")


def test_a_wrong_one_is_3_with_every_line(config):
    path = config(BAD)
    done = run("check", path)
    assert done.returncode == 3 and done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"{path}:2: error: ") and lines[1].startswith(f"{path}:3: error: ")
    assert lines[-1].startswith(f"fdpass: {path}: 2 errors")


def test_json_of_a_right_and_of_a_wrong_one(config):
    right = run("check", "--json", config(GOOD))
    document = json.loads(right.stdout)
    assert right.returncode == 0 and right.stderr == "" and document["ok"] and document["diagnostics"] == []
    listener, = document["listeners"]
    assert listener["name"] == "web" and listener["addresses"] == ["127.0.0.1:8080"]
    assert listener["backlog"] == 77 and listener["socket_mode"] == "0660" and listener["line"] == 1
    assert listener["access"] == {"users": [1000], "groups": [100]} and listener["socket_uid"] is None
    wrong = run("check", "--json", config(BAD))
    document = json.loads(wrong.stdout)
    assert wrong.returncode == 3 and not document["ok"] and document["listeners"] == []
    assert [(d["severity"], d["line"]) for d in document["diagnostics"]] == [("error", 2), ("error", 3)]


def test_bytes_that_are_no_text_are_shown_safely(tmp_path):
    path = tmp_path / "fdpass.conf"
    path.write_bytes(b"[Socket web]\nListenStream=\xff\x1b[31m\n")
    done = run("check", path)
    assert done.returncode == 3 and "\x1b" not in done.stderr and "fdpass.conf:2" in done.stderr
    assert json.loads(run("check", "--json", path).stdout)["ok"] is False


def test_the_default_path_is_the_brokers(tmp_path):
    (tmp_path / "fdpass").mkdir()
    (tmp_path / "fdpass" / "fdpass.conf").write_text(GOOD)
    done = run("check", XDG_CONFIG_HOME=tmp_path)
    if os.geteuid() != 0:
        assert done.returncode == 0 and str(tmp_path) in done.stderr, done
    else:
        assert "/etc/fdpass" in done.stderr


def test_a_path_that_does_not_exist_is_3_and_named():
    done = run("check", "/nonexistent/fdpass.conf")
    assert done.returncode == 3 and "/nonexistent/fdpass.conf" in done.stderr


@pytest.mark.parametrize("arguments, status, said", [
    ([], 2, "Commands:"),
    (["--help"], 0, "Exit status:"),
    (["--version"], 0, "fdpass 0."),
    (["status", "--version"], 0, "fdpass 0."),
    (["stauts"], 2, "Did you mean 'status'?"),
    (["frobnicate"], 2, "there is no command 'frobnicate'"),
    (["ps"], 2, "there is no command 'ps'. Did you mean 'status'?"),
    (["help", "down"], 2, "there is no command 'down'. Did you mean 'stop'?"),
    (["help", "stop", "start"], 2, "help is for one command"),
    (["--jsn", "status"], 2, "Did you mean '--json'?"),
    (["status", "--verbos=1"], 2, "takes no argument"),
    (["--color=blue", "status"], 2, "auto|always|never"),
    (["--socket"], 2, "needs an argument"),
    (["check", "a", "b"], 2, "'b' is one too many"),
    (["apply", "now"], 2, "'now' is too much"),
    (["--json", "exec", "web", "--", "true"], 125, "--json"),
    (["--socket=/nonexistent/sock", "status"], 4, "/nonexistent/sock"),
    (["--socket=/nonexistent/sock", "apply"], 4, "/nonexistent/sock"),
    (["--socket=/" + "x" * 108, "status"], 1, "107 bytes"),
])
def test_exit_statuses_and_what_is_said(arguments, status, said):
    done = run(*arguments)
    assert done.returncode == status and said in done.stdout + done.stderr, done
    # what was asked for goes to stdout, complaints to stderr
    assert (done.stdout == "") == (status != 0 and arguments != []), done


def test_what_a_start_needs_and_is_not_there_is_a_warning(tmp_path):
    def said(text, *more):
        path = tmp_path / "fdpass.conf"
        path.write_text(f"[Component a]\n{text}")
        done = run("check", "--quiet", str(path), *more)
        assert done.returncode == 0, done
        return done.stdout if more else done.stderr
    gone = tmp_path / "gone"
    for key, more in (("ExecStart", ""), ("WorkingDirectory", "ExecStart=true\n"),
                      ("EnvironmentFile", "ExecStart=true\n")):
        line = f"{more}{key}={gone}\n"
        wanted = f"fdpass.conf:1: warning: a: {key}={gone} is not there now; without it a start fails\n"
        assert wanted in said(line) and said(line).endswith("1 component, ok, 1 warning\n")
        assert json.loads(said(line, "--json"))["diagnostics"][0]["severity"] == "warning"
        for excuse in (line.replace("=/", "=-/"), line + f"ConditionPathExists={gone}\n"):
            assert "warning" not in said(excuse)
        if more:
            assert "warning" not in said(line + "ExecStartPre=true\n")
            assert "warning" not in said(line + "RuntimeDirectory=x\n")
    assert "warning" not in said("ExecStart=sleep 1\nWorkingDirectory=/tmp\n")


def test_help_of_every_command_comes_from_the_table():
    listed = [line.split()[0] for line in run("--help").stdout.split("Commands:\n")[1].split("\n\n")[0].splitlines()]
    assert {"status", "exec", "check", "apply"} <= set(listed)
    for command in listed:
        done = run(command, "--help")
        assert done.returncode == 0 and done.stdout.startswith(f"Usage: fdpass {command} "), done
        assert ("--json" in done.stdout) == (command != "exec")
        assert run("help", command).stdout == done.stdout
    assert run("help").stdout == run("--help").stdout


def test_apply_prints_what_it_did_as_json(broker):
    b = broker("")
    b.write_config("[Socket web]\nListenStream=%s:%d\n" % free_address())
    done = json.loads(b.fdpass("apply", "--json").stdout)
    assert done == {"schema": 1, "ok": True, "opened": 1, "adopted": 0, "kept": 0, "changed": 0, "closed": 0,
                    "diagnostics": [], "added_components": [], "removed_components": []}
    b.write_config("[Socket web]\nListenStream=x\nBacklog=y\n")
    failed = b.fdpass("apply", "--json", check=False)
    document = json.loads(failed.stdout)
    assert failed.returncode == 3 and not document["ok"] and document["message"]
    assert [d["line"] for d in document["diagnostics"]] == [4, 5]


def test_apply_claims_no_counts_that_the_answer_does_not_have(tmp_path):
    """A broker of another version may say less."""
    path = str(tmp_path / "broker.sock")

    def answer_one(server, answer):
        peer, _ = server.accept()
        with peer:
            while request := peer.recv(4096):
                serial = [line for line in request.split(b"\n") if line.startswith(b"SERIAL=")]
                peer.send(b"\n".join([b"OK=1", *serial, answer]))

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(path)
        server.listen()
        for answer, said, more in ((b"", "The configuration is applied.\n", set()),
                                   (b"OPENED=2\nCLOSED=1\n", "Listeners: opened 2, closed 1\n", {"opened", "closed"})):
            for arguments in ([], ["--json"]):
                thread = threading.Thread(target=answer_one, args=(server, answer))
                thread.start()
                done = subprocess.run([FDPASS, "apply", *arguments], env=clean_environment(FDPASS_SOCKET=path),
                                      stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=True)
                thread.join()
                if arguments:
                    assert set(json.loads(done.stdout)) == {"schema", "ok", "diagnostics", "added_components",
                                                             "removed_components"} | more
                else:
                    assert done.stdout == said


COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
COMPREPLY=()
_fdpass 2>&1
printf '%s\\n' "${COMPREPLY[@]}"
"""


def complete(env, *words):
    script = os.path.join(os.path.dirname(__file__), "../../broker/cli/completion/fdpass")
    path = os.path.dirname(os.path.abspath(FDPASS))
    done = subprocess.run(["bash", "--norc", "-c", COMPLETE, "bash", script, *words], capture_output=True, text=True,
                          env={**env, "PATH": f"{path}:{os.environ['PATH']}"}, timeout=30, check=True)
    assert done.stderr == ""
    return [word for word in done.stdout.split("\n") if word]


def test_completion(broker):
    b = broker("".join("[Socket %s]\nListenStream=%s:%d\n" % (name, *free_address()) for name in ("web", "api", "app"))
               + "[Component hermes]\nExecStart=/bin/true\nStart=manual\n"
               + "[Component app]\nExecStart=/bin/true\nStart=manual\nSockets=web\n")
    env = b.environment()
    assert complete(env, "fdpass", "") == ["apply", "check", "exec", "help", "logs", "pause", "reload", "restart",
                                           "resume", "start", "status", "stop", "store", "upgrade"]
    assert complete(env, "fdpass", "help", "re") == ["reload", "restart", "resume"]
    assert complete(env, "fdpass", "st") == ["start", "status", "stop", "store"]
    assert complete(env, "fdpass", "restart", "") == ["app", "hermes"]
    assert complete(env, "fdpass", "logs", "-n", "5", "h") == ["hermes"]
    assert complete(env, "fdpass", "store", "drop", "x", "--component", "=", "h") == ["hermes"]
    assert complete(env, "fdpass", "exec", "h") == []
    assert complete(env, "fdpass", "status", "h") == ["hermes"]
    assert complete(env, "fdpass", "stop", "--no") == ["--no-wait"]
    assert complete(env, "fdpass", "store", "") == ["drop", "list"]
    assert complete(env, "fdpass", "status", "ap") == ["api", "app"]
    assert complete(env, "fdpass", "exec", "--wait", "web", "a") == ["api", "app"]
    assert complete(env, "fdpass", "--color", "=", "al") == ["always"]
    assert complete(env, "fdpass", "apply", "--a") == ["--allow-close"]
    assert "ls" in complete(env, "fdpass", "exec", "web", "--", "ls")
    other = {**env, "FDPASS_SOCKET": "/nonexistent"}
    assert complete(other, "fdpass", "status", "") == []
    assert complete(other, "fdpass", "--socket", "=", b.control, "status", "w") == ["web"]


def test_completion_knows_every_command_and_option():
    env = clean_environment()
    listed = [line.split()[0] for line in run("--help").stdout.split("Commands:\n")[1].split("\n\n")[0].splitlines()]
    assert complete(env, "fdpass", "") == sorted([*listed, "help"])
    for command in listed:
        lines = run(command, "--help").stdout.split("Options:\n")[1].splitlines()
        options = {line.split("--")[1].split("=")[0].split("[")[0].split()[0] for line in lines}
        assert {word.strip("-=") for word in complete(env, "fdpass", command, "--")} == options


def test_the_manual_has_every_command_and_option():
    page = os.path.join(os.path.dirname(__file__), "../../docs/man/fdpass.1.scd")
    with open(page, encoding="utf-8") as file:
        manual = file.read()
    listed = [line.split()[0] for line in run("--help").stdout.split("Commands:\n")[1].split("\n\n")[0].splitlines()]
    for command in listed:
        assert f"*fdpass {command}*" in manual
        for line in run(command, "--help").stdout.split("Options:\n")[1].splitlines():
            option = "--" + line.split("--")[1].split("=")[0].split("[")[0].split()[0]
            assert f"{option}*" in manual, f"{option} of {command} is not in fdpass(1)"


def test_what_is_no_file_is_refused_and_a_file_of_proc_is_read_whole(config, tmp_path):
    done = run("check", "/dev/null")
    assert done.returncode == 3 and done.stderr.startswith("/dev/null: error: is a device"), done
    fifo = tmp_path / "fifo.conf"
    os.mkfifo(fifo)
    done = run("check", fifo)
    assert done.returncode == 3 and "is a FIFO" in done.stderr, done
    # stat(2) says that it has 0 bytes
    done = run("check", "/proc/self/status")
    assert done.returncode == 3 and "/proc/self/status:1: error: " in done.stderr, done
    (tmp_path / "fdpass.conf").symlink_to("/dev/null")  # masked: nothing is configured
    assert run("check", tmp_path).returncode == 0


def test_the_control_socket_that_applies_is_shown(config, tmp_path):
    lines = run("check", config(GOOD), XDG_RUNTIME_DIR=str(tmp_path)).stdout.splitlines()
    default = "/run/fdpass/broker.sock" if os.geteuid() == 0 else f"{tmp_path}/fdpass/broker.sock"
    assert f"ControlSocket={default}" in lines
    lines = run("check", config("[Broker]\nControlSocket=/run/x.sock\n" + GOOD)).stdout.splitlines()
    assert "ControlSocket=/run/x.sock" in lines
