"""
Programs that nobody here wrote, unmodified, from the distribution: each is started by `fdpass exec`,
killed with SIGKILL under connection load and started again. No connection may be refused.
"""
import dataclasses
import json
import os
import shutil
import signal

import pytest

from testing.broker import free_address
from testing.load import Load

RESTARTS = 5
#: Of a component, until the new generation has shown that it serves: far above what a busy machine takes.
READY_MSEC_MAX = 20000

WSGI = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "3"), ("Connection", "close")])
    return [b"ok\\n"]
"""

ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"ok\\n"})
"""

NGINX = """
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        # the address that the listener has: nginx compares, and takes the inherited socket
        listen {address};
        return 200 "ok\\n";
    }}
}}
"""

HAPROXY = """
global
    maxconn 1000
defaults
    mode http
    timeout client 30s
    timeout connect 5s
    timeout server 30s
frontend web
    bind fd@3
    http-request return status 200 content-type text/plain string "ok\\n"
"""

LIGHTTPD = """
server.systemd-socket-activation = "enable"
server.bind = "{address}"
server.port = {port}
server.document-root = "{folder}"
server.modules = ( "mod_indexfile" )
index-file.names = ( "index.html" )
"""

NODE = """
require("http").createServer((request, response) => {
    response.writeHead(200, { "Content-Length": 3, "Connection": "close" });
    response.end("ok\\n");
}).listen({ fd: 3 });
"""


def gunicorn(folder, address):
    (folder / "hello_wsgi.py").write_text(WSGI)
    return ["gunicorn", "--workers", "2", "--chdir", folder, "--log-level", "warning", "hello_wsgi:application"], {}


def uvicorn(folder, address):
    (folder / "hello_asgi.py").write_text(ASGI)
    return ["uvicorn", "--fd", "3", "--app-dir", folder, "--log-level", "warning", "hello_asgi:app"], {}


def nginx(folder, address):
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, address=address))
    return ["nginx", "-p", folder, "-c", folder / "nginx.conf"], {"NGINX": "3;"}


def haproxy(folder, address):
    (folder / "haproxy.cfg").write_text(HAPROXY)
    return ["haproxy", "-db", "-f", folder / "haproxy.cfg"], {}


def node(folder, address):
    (folder / "hello.js").write_text(NODE)
    return ["node", folder / "hello.js"], {}


def lighttpd(folder, address):
    bound, _, port = (address[len("unix:"):], "", 0) if address.startswith("unix:") else address.rpartition(":")
    (folder / "lighttpd.conf").write_text(LIGHTTPD.format(folder=folder, address=bound, port=port))
    (folder / "index.html").write_text("ok\n")
    return ["lighttpd", "-D", "-f", folder / "lighttpd.conf"], {}


def find(program):
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    return shutil.which(program, path=path)


@dataclasses.dataclass
class Component:
    """How a server runs as a component; what is lost at a stop is the server's own doing."""

    server: object
    type: str
    stop: str = "SIGTERM"
    non_blocking: bool = False
    arguments: tuple = ()
    finishes: bool = True  # what it has accepted

    def __str__(self):
        return "-".join([self.server.__name__, *self.arguments[1:2]])


COMPONENTS = [
    Component(gunicorn, "notify"),
    Component(gunicorn, "notify", arguments=("--worker-class", "gthread", "--threads", "4")),
    Component(uvicorn, "exec", finishes=False),
    Component(node, "exec", finishes=False),
    Component(nginx, "exec", "SIGQUIT", non_blocking=True),
    Component(haproxy, "notify", "SIGUSR1"),
    Component(lighttpd, "exec", "SIGINT"),
]


@pytest.mark.parametrize("health", ["", "http:/"], ids=["by itself", "http"])
@pytest.mark.parametrize("one", COMPONENTS, ids=str)
def test_a_new_generation_shows_that_it_serves_beside_the_old_one(broker, tmp_path, one, health):
    """Both take from one queue, and nobody else connects: the old one is awake, and must not win every time."""
    address = free_address()
    command, env = one.server(tmp_path, "%s:%d" % address)
    program = find(command[0])
    if not program:
        pytest.skip(f"{command[0]} is not installed")
    words = list(command[1:]) + list(one.arguments)
    if one.server is haproxy:
        words[0] = "-Ws"
    if one.server is gunicorn:
        words = list(one.arguments) + list(command[1:])
    environment = "".join(f"Environment={key}={value}\n" for key, value in env.items())
    b = broker(f"[Socket web]\nListenStream={address[0]}:{address[1]}\n"
               f"NonBlocking={'yes' if one.non_blocking else 'no'}\n"
               f"[Component web]\nSockets=web\nType={one.type}\nKillSignal={one.stop}\n{environment}"
               f"TimeoutStopSec=10\nExecStart={program} {' '.join(map(str, words))}\n"
               + (f"HealthCheck={health}\n" if health else ""))
    b.fdpass("start", "web")
    for _ in range(3):
        receipt, = json.loads(b.fdpass("restart", "web", "--json").stdout)["components"]
        assert receipt["ready_by"] != "its own word"
        assert receipt["ready_ms"] < READY_MSEC_MAX, b.log()
        print(one, health, receipt["ready_ms"], "ms,", receipt["ready_by"])
    with Load(address) as load:
        load.wait_served(50)
        b.fdpass("restart", "web")
        load.wait_served(50)
    assert load.refused == 0 and not load.others, load
    assert load.cut == 0 or not one.finishes, load


@pytest.mark.parametrize("family", ["tcp", "unix"])
@pytest.mark.parametrize("server", [gunicorn, uvicorn, nginx, haproxy, node, lighttpd], ids=lambda s: s.__name__)
def test_killed_and_started_again_under_load(broker, processes, tmp_path, server, family):
    b = broker("")
    if family == "tcp":
        target = free_address()
        listen = nginx_address = "%s:%d" % target
    else:
        target = listen = os.path.join(b.folder, "web.sock")
        nginx_address = "unix:" + listen
    # nginx takes an inherited socket as it is: of two workers that are woken for one connection the
    # second would block in accept(), with what it has accepted before
    non_blocking = "yes" if server is nginx else "no"
    b.write_config(f"[Socket web]\nListenStream={listen}\nNonBlocking={non_blocking}\n")
    b.reload()
    command, env = server(tmp_path, nginx_address)
    program = find(command[0])
    if not program:
        pytest.skip(f"{command[0]} is not installed")
    inode = b.inode("web")

    with open(tmp_path / "log", "ab") as log:
        def start():
            processes.append(b.spawn("web", "--", program, *command[1:], env=env, stdout=log, stderr=log))
            return processes[-1]

        process = start()
        with Load(target) as load:
            try:
                load.wait_served(200)
                for _ in range(RESTARTS):
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    process = start()
                    load.wait_served(200)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{(tmp_path / 'log').read_text()}\n{b.log()}") from error
        # the program may write that it was told nothing about the socket, but not that it bound one
        assert list(b.leases("web")) == [process.pid]
    print(load)
    assert load.refused == 0 and not load.others, load
    assert b.inode("web") == inode


def test_stopped_as_an_operator_does_and_started_again(broker, processes, tmp_path):
    """gunicorn unlinks the Unix path on SIGTERM, as many do: the address must survive that too."""
    b = broker("")
    path = os.path.join(b.folder, "web.sock")
    b.write_config(f"[Socket web]\nListenStream={path}\n")
    b.reload()
    command, _ = gunicorn(tmp_path, None)
    # a worker that is just being forked can miss SIGTERM and is then killed when this is over
    command += ["--graceful-timeout", "3"]
    program = find("gunicorn")
    if not program:
        pytest.skip("gunicorn is not installed")
    with open(tmp_path / "log", "ab") as log:
        def start():
            processes.append(b.spawn("web", "--", program, *command[1:], stdout=log, stderr=log))
            return processes[-1]

        process = start()
        with Load(path) as load:
            load.wait_served(200)
            for _ in range(RESTARTS):
                process.terminate()
                process.wait(30)
                process = start()
                load.wait_served(200)
    assert load.refused <= RESTARTS * 4 and not load.others, load
