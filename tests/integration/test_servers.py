"""
Programs that nobody here wrote, unmodified, from the distribution: each is started by `fdpass exec`,
killed with SIGKILL under connection load and started again. No connection may be refused.
"""
import os
import shutil
import signal

import pytest

from testing.broker import free_address
from testing.load import Load

RESTARTS = 5

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


def find(program):
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    return shutil.which(program, path=path)


@pytest.mark.parametrize("family", ["tcp", "unix"])
@pytest.mark.parametrize("server", [gunicorn, uvicorn, nginx, haproxy, node], ids=lambda s: s.__name__)
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
