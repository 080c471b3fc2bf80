"""A broker of an ordinary user: no root, no systemd, nothing but a home."""
import os
import subprocess

import pytest

from testing.broker import DEADLINE, FDPASS, FDPASSD, clean_environment, free_address, private_folder
from testing.scene import until

#: Nobody's, and of this process alone: /tmp/fdpass-UID is the place of one user's broker.
UID = 62000 + os.getpid() % 1000 * 2


def as_user(*command, env, **kwargs):
    return subprocess.Popen([str(c) for c in command], env=env, stdin=subprocess.DEVNULL, user=UID, group=UID,
                            extra_groups=[], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)


@pytest.fixture
def home():
    import shutil
    folder = private_folder()
    for name in ("config/fdpass", "runtime"):
        os.makedirs(os.path.join(folder, name))
    for where, _, _ in os.walk(folder):
        os.chown(where, UID, UID)
        os.chmod(where, 0o700)
    # the programs may be below a folder that only root may enter
    os.chmod(folder, 0o755)
    for program in (FDPASSD, FDPASS):
        shutil.copy(program, folder)
    yield folder
    shutil.rmtree(folder)


def start(home, env):
    """Start fdpassd and wait for READY=1."""
    import socket
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(os.path.join(home, "notify"))
        os.chmod(os.path.join(home, "notify"), 0o777)
        notify.settimeout(DEADLINE)
        process = as_user(os.path.join(home, "fdpassd"), env={**env, "NOTIFY_SOCKET": os.path.join(home, "notify")})
        try:
            assert b"READY=1" in notify.recv(4096)
        except BaseException:
            process.kill()
            print(process.communicate())
            raise
        return process


def end(process):
    process.terminate()
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    return err


@pytest.mark.root
@pytest.mark.parametrize("runtime", [True, False], ids=["XDG_RUNTIME_DIR", "tmp"])
def test_a_user_s_own_broker(home, runtime):
    host, port = free_address()
    with open(os.path.join(home, "config/fdpass/fdpass.conf"), "w", encoding="ascii") as file:
        file.write(f"[Socket web]\nListenStream={host}:{port}\n")
    os.chmod(os.path.join(home, "config/fdpass/fdpass.conf"), 0o644)
    env = clean_environment(XDG_CONFIG_HOME=os.path.join(home, "config"), HOME=home)
    if runtime:
        env["XDG_RUNTIME_DIR"] = os.path.join(home, "runtime")
    control = os.path.join(home, "runtime/fdpass/broker.sock") if runtime else f"/tmp/fdpass-{UID}/broker.sock"
    process = start(home, env)
    try:
        assert os.stat(control).st_uid == UID
        if not runtime:
            assert os.stat(os.path.dirname(control)).st_mode & 0o7777 == 0o700
        command = as_user(os.path.join(home, "fdpass"), "exec", "web", "--", "sh", "-c", "echo $LISTEN_FDS", env=env)
        out, err = command.communicate(timeout=DEADLINE)
        assert out == "1\n", err
    finally:
        end(process)
        if not runtime:
            import shutil
            shutil.rmtree(os.path.dirname(control), ignore_errors=True)


@pytest.mark.root
def test_the_directories_of_a_component_are_those_of_the_user(home):
    out = os.path.join(home, "runtime", "out")
    kinds = {"Runtime": "runtime", "State": ".local/state", "Cache": "cache", "Logs": ".local/state/log",
             "Configuration": "config"}
    with open(os.path.join(home, "config/fdpass/fdpass.conf"), "w", encoding="ascii") as file:
        file.write("[Component hermes]\n" + "".join(f"{kind}Directory=hermes/x y\n" for kind in kinds) +
                   f"ExecStart=/bin/sh -c 'env >{out}.new; mv {out}.new {out}; exec sleep 1000'\n")
    os.chmod(home, 0o777)  # to be made below it: .local
    env = clean_environment(HOME=home, XDG_CONFIG_HOME=os.path.join(home, "config"),
                            XDG_RUNTIME_DIR=os.path.join(home, "runtime"), XDG_CACHE_HOME=os.path.join(home, "cache"))
    process = start(home, env)
    try:
        until(lambda: os.path.exists(out), "the component to run")
        with open(out, encoding="utf-8") as file:
            seen = dict(line.rstrip("\n").split("=", 1) for line in file)
        for kind, folder in kinds.items():
            expected = [os.path.join(home, folder, name) for name in ("hermes/x", "y")]
            assert seen[f"{kind.upper()}_DIRECTORY"].split(":") == expected
            assert {os.stat(path).st_uid for path in expected} == {UID}
    finally:
        env["FDPASS_SOCKET"] = os.path.join(home, "runtime/fdpass/broker.sock")
        out, err = as_user(os.path.join(home, "fdpass"), "stop", "--all", env=env).communicate(timeout=DEADLINE)
        end(process)
    assert not os.path.exists(os.path.join(home, "runtime/y")) and os.path.exists(os.path.join(home, "cache/y")), err


@pytest.mark.root
@pytest.mark.parametrize("directive", ["User=root", "Group=root"])
def test_who_is_to_be_somebody_else_is_told_that_root_is_needed(home, directive):
    with open(os.path.join(home, "config/fdpass/fdpass.conf"), "w", encoding="ascii") as file:
        file.write(f"[Component hermes]\nStart=manual\nRestart=no\n{directive}\nExecStart=sleep 1000\n")
    env = clean_environment(HOME=home, XDG_CONFIG_HOME=os.path.join(home, "config"),
                            XDG_RUNTIME_DIR=os.path.join(home, "runtime"))
    process = start(home, env)
    try:
        command = as_user(os.path.join(home, "fdpass"), "start", "hermes", env=env)
        _, err = command.communicate(timeout=DEADLINE)
        assert command.returncode == 1
        assert "User=, Group=: only a broker that runs as root can start it as somebody else" in err
    finally:
        end(process)


@pytest.mark.root
def test_a_folder_in_tmp_that_somebody_else_made_is_refused(home):
    folder = f"/tmp/fdpass-{UID}"
    os.mkdir(folder, 0o777)
    try:
        with open(os.path.join(home, "config/fdpass/fdpass.conf"), "w", encoding="ascii") as file:
            file.write("")
        env = clean_environment(XDG_CONFIG_HOME=os.path.join(home, "config"), HOME=home)
        process = as_user(os.path.join(home, "fdpassd"), env=env)
        _, err = process.communicate(timeout=DEADLINE)
        assert process.returncode not in (0, -6, -11) and folder in err, err
    finally:
        os.rmdir(folder)


@pytest.mark.root
def test_a_port_that_needs_a_privilege_is_explained(home):
    """Where the kernel lets everyone bind port 80 there is nothing to explain."""
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
        if int(file.read()) <= 80:
            pytest.skip("net.ipv4.ip_unprivileged_port_start lets everyone bind port 80 here")
    with open(os.path.join(home, "config/fdpass/fdpass.conf"), "w", encoding="ascii") as file:
        file.write("[Socket web]\nListenStream=127.0.0.1:80\n")
    env = clean_environment(XDG_CONFIG_HOME=os.path.join(home, "config"), HOME=home,
                            XDG_RUNTIME_DIR=os.path.join(home, "runtime"))
    process = as_user(os.path.join(home, "fdpassd"), env=env)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode != 0 and "127.0.0.1:80" in err and "ermi" in err, err


@pytest.mark.root
def test_another_user_s_broker_is_not_believed(home):
    """The client sends nothing to a server that is neither root's nor its own."""
    path = os.path.join(home, "runtime", "false.sock")
    server = as_user("/usr/bin/python3", "-c", """
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.bind(sys.argv[1])
s.listen()
print("up", flush=True)
c, _ = s.accept()
print(len(c.recv(100)), flush=True)
""", path, env=clean_environment())
    try:
        assert server.stdout.readline() == "up\n"
        os.chmod(os.path.join(home, "runtime"), 0o755)
        os.chmod(path, 0o777)
        done = subprocess.run([FDPASS, "status"], env=clean_environment(FDPASS_SOCKET=path), timeout=DEADLINE,
                              user=UID + 1, group=UID + 1, extra_groups=[], capture_output=True, text=True, check=False)
        assert done.returncode != 0 and path in done.stderr
        assert server.stdout.readline() == "0\n"
    finally:
        server.kill()
        server.communicate()
