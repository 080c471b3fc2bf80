"""Configuration applied to a running broker: all or nothing, and what is unchanged is not touched."""
import os
import socket
import subprocess
import sys

import pytest

from testing.broker import FDPASS, StartFailed, clean_environment, free_address


def section(name, host, port, more=""):
    return f"[Socket {name}]\nListenStream={host}:{port}\n{more}"


def test_a_reload_opens_the_new_and_keeps_the_old_socket(broker):
    first, second = free_address(), free_address()
    b = broker(section("web", *first))
    inode = b.inode("web")
    with socket.create_connection(first) as waiting:
        b.write_config(section("web", *first) + section("api", *second))
        b.reload()
        assert b.inode("web") == inode
        socket.create_connection(second).close()
        with b.client() as client, client.acquire("web") as listener:
            accepted, _ = listener.accept()
            assert accepted.getpeername() == waiting.getsockname()
            accepted.close()


def test_apply_says_what_it_did(broker):
    first, second = free_address(), free_address()
    b = broker(section("web", *first))
    b.write_config(section("web", *first) + section("api", *second))
    with b.client() as client:
        answer = client.request("APPLY")
        assert answer.ok, answer
        assert (answer["OPENED"], answer["KEPT"], answer["CLOSED"]) == ("1", "1", "0")


def test_all_or_nothing_when_an_address_is_taken(broker):
    first, second, third = free_address(), free_address(), free_address()
    b = broker(section("web", *first))
    inode = b.inode("web")
    with socket.socket() as squatter:
        squatter.bind(third)
        squatter.listen()
        b.write_config(section("web", *first) + section("api", *second) + section("taken", *third))
        done = b.fdpass("apply", check=False)
        assert done.returncode == 1, "nothing is wrong with the configuration"
        with b.client() as client:
            assert client.request("APPLY")["ERROR"] == "EADDRINUSE"
        said = done.stdout + done.stderr
        assert f"{third[0]}:{third[1]}" in said and str(os.getpid()) in said, said
        assert {l["name"] for l in b.status()["listeners"]} == {"web"}
        assert b.inode("web") == inode
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(second)
    b.fdpass("apply")
    assert {l["name"] for l in b.status()["listeners"]} == {"web", "api", "taken"}


@pytest.mark.parametrize("bad", [
    "[Socket api]\n",
    "[Socket api]\nListenStream=notanaddress\n",
    "[Socket api]\nListenStream=127.0.0.1:99999\n",
    "[Socket api]\nListenStream=127.0.0.1:1\nBacklog=many\n",
    "[Socket api]\nListenStraem=127.0.0.1:1\n",
    "[Sockets]\nx=1\n",
    "[Socket api\n",
    "[Socket api]\nListenStream=127.0.0.1:1\nSocketUser=no-such-user-here\n",
])
def test_a_wrong_configuration_changes_nothing_and_is_named_by_line(broker, bad):
    first = free_address()
    b = broker(section("web", *first))
    inode = b.inode("web")
    b.write_config(bad + section("web", *free_address()))
    done = b.fdpass("apply", check=False)
    assert done.returncode != 0 and b.config_path + ":" in done.stdout + done.stderr, done
    b.reload()
    assert b.inode("web") == inode


def test_all_errors_of_a_run_are_reported(broker):
    b = broker("")
    b.write_config("[Socket a]\nListenStream=nope\n[Socket b]\nBacklog=x\nListenStream=127.0.0.1:1\nFrobnicate=1\n")
    done = subprocess.run([FDPASS, "check", b.config_path], env=clean_environment(), capture_output=True, text=True,
                          timeout=30, check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    for line in (4, 6, 8):  # two lines of [Broker] stand in front
        assert f"fdpass.conf:{line}:" in said, said


def test_check_touches_nothing(broker, tmp_path):
    path = tmp_path / "never.sock"
    config = tmp_path / "fdpass.conf"
    config.write_text(f"[Socket app]\nListenStream={path}\n")
    done = subprocess.run([FDPASS, "check", config], env=clean_environment(), capture_output=True, text=True,
                          timeout=30, check=True)
    assert str(path) in done.stdout and not path.exists()
    assert os.listdir(tmp_path) == ["fdpass.conf"]


def test_closing_needs_to_be_said(broker):
    first, second = free_address(), free_address()
    b = broker(section("web", *first) + section("api", *second))
    b.write_config(section("web", *first))
    done = b.fdpass("apply", check=False)
    assert done.returncode != 0 and "api" in done.stdout + done.stderr
    b.reload()
    socket.create_connection(second).close()
    b.fdpass("apply", "--allow-close")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(second)


def test_a_renamed_listener_is_known_by_its_address(broker):
    first = free_address()
    b = broker(section("web", *first))
    inode = b.inode("web")
    b.write_config(section("front", *first))
    b.fdpass("apply")
    assert b.inode("front") == inode


def test_watchers_are_told(broker):
    first, second = free_address(), free_address()
    b = broker(section("web", *first) + section("api", *second))
    with b.client() as client:
        assert client.request("WATCH").ok
        b.write_config(section("web", *first, "Backlog=7\n"))
        b.fdpass("apply", "--allow-close")
        events = {(e["EVENT"], e["NAME"]) for e in (client.receive(), client.receive())}
        assert events == {("CHANGED", "web"), ("REMOVED", "api")}


def test_a_start_on_a_taken_address_names_the_process(broker):
    host, port = free_address()
    with socket.socket() as squatter:
        squatter.bind((host, port))
        squatter.listen()
        with pytest.raises(StartFailed) as failed:
            broker(section("web", host, port))
        assert failed.value.status not in (0, -6, -11)
        assert f"{host}:{port}" in failed.value.log and str(os.getpid()) in failed.value.log


def test_a_start_on_the_port_of_an_outgoing_connection_says_so(broker):
    host, port = free_address()
    with socket.socket() as server, socket.socket() as client:
        server.bind(free_address())
        server.listen()
        client.bind((host, port))
        client.connect(server.getsockname())
        with pytest.raises(StartFailed) as failed:
            broker(section("web", host, port))
        assert "connection" in failed.value.log and str(port) in failed.value.log, failed.value.log


def test_a_second_broker_does_not_take_the_control_socket_of_the_first(broker):
    b = broker(section("web", *free_address()))
    with pytest.raises(StartFailed) as failed:
        broker(f"[Broker]\nControlSocket={b.control}\n" + section("api", *free_address()))
    assert failed.value.status == 4 and "running" in failed.value.log
    assert b.listener("web")


def test_a_control_socket_left_by_a_killed_broker_is_no_hindrance(broker):
    host, port = free_address()
    b = broker(section("web", host, port))
    b.kill()
    assert os.path.exists(b.control)
    os.unlink(os.path.join(b.folder, "notify.sock"))
    assert broker(section("web", host, port), folder=b.folder).listener("web")


@pytest.mark.parametrize("arguments, status", [
    (["--no-such-option"], 2), (["surplus"], 2), (["--log-level", "loud"], 2), (["--config"], 2),
    (["--config", "/nonexistent/fdpass.conf"], 3), (["--version"], 0), (["--help"], 0)])
def test_exit_statuses_of_fdpassd(arguments, status):
    from testing.broker import FDPASSD
    done = subprocess.run([FDPASSD, *arguments], env=clean_environment(), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == status, done
    assert done.stdout if status == 0 else done.stderr


def test_a_reload_takes_over_the_log_level(broker):
    web, api = section("web", *free_address()), section("api", *free_address())
    b = broker(web)
    b.write_config("[Broker]\nLogLevel=error\n" + web)
    b.reload()
    said = b.log()
    b.write_config("[Broker]\nLogLevel=error\n" + web + api)
    b.reload()
    assert b.log() == said
    b.write_config(web + api)  # the default again
    b.reload()
    assert "is applied" in b.log()[len(said):]


def test_a_reload_leaves_a_log_level_of_the_command_line_alone(broker):
    web = section("web", *free_address())
    b = broker("[Broker]\nLogLevel=error\n" + web, arguments=["--log-level", "info"])
    said = b.log()
    b.reload()
    assert "is applied" in b.log()[len(said):]


def test_a_reload_takes_over_the_limit_of_listeners(broker):
    sections = [section(f"s{i}", *free_address()) for i in range(4)]
    b = broker("[Broker]\nListenersMax=2\n" + sections[0])
    b.write_config("[Broker]\nListenersMax=2\n" + "".join(sections[:3]))
    done = b.fdpass("apply", check=False)
    assert done.returncode != 0 and "ListenersMax" in done.stdout + done.stderr, done
    b.write_config("[Broker]\nListenersMax=3\n" + "".join(sections))
    assert b.fdpass("apply", check=False).returncode != 0  # of a reload that failed nothing stays
    b.write_config("[Broker]\nListenersMax=3\n" + "".join(sections[:3]))
    b.fdpass("apply")
    assert len(b.status()["listeners"]) == 3
