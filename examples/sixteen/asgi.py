"""
A component on uvicorn. `uvicorn --fd 3 asgi:application` would do, but for one thing: on SIGTERM
uvicorn closes connections that it has accepted and whose request it has not yet read. Server waits
for those.
"""
import asyncio
import time

import uvicorn

from common import answer


async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    status, body = await asyncio.to_thread(answer, scope["path"])
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Server(uvicorn.Server):
    async def shutdown(self, sockets=None):
        for server in self.servers:
            server.close()  # accepts no more; others that hold the listener do
        end = time.monotonic() + 2
        await asyncio.sleep(0.05)  # what was accepted just now
        while self.server_state.connections and time.monotonic() < end:
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)


if __name__ == "__main__":
    Server(uvicorn.Config(application, fd=3, lifespan="off", log_level="warning")).run()
