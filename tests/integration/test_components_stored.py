"""What a component stores and what becomes of it when its other end hangs up."""
import collections
import os
import signal

import pytest

from testing.process import until
from testing.program import runs
from testing.scene import Scene

#: For each word that is said its peers go; what is stored stays open in nobody but the broker and its keeper.
TEXT = """
ours, theirs = zip(*(socket.socketpair() for _ in range(5)))
reader, writer = os.pipe()
nobody, refused = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
nobody.bind(("127.0.0.1", 0))
refused.connect(nobody.getsockname())
held = {"one": [theirs[0]], "first": [theirs[2]], "second": [theirs[3]], "both": [theirs[1], theirs[4], nobody]}
for name, packet in {"connection": [ours[0]], "unpolled\\nFDPOLL=0": [ours[1]], "pair": [ours[2], ours[3]],
                     "mixed": [ours[4], refused], "pipe": [writer], "file": [os.memfd_create("m")]}.items():
    notify("FDSTORE=1\\nFDNAME=" + name, [getattr(one, "fileno", lambda: one)() for one in packet])
for one in ours:
    one.close()
os.close(writer)
for one in theirs:
    one.send(b"unread")
notify("READY=1")
threading.Thread(target=serve, daemon=True).start()
for word, sockets in held.items():
    while not os.path.exists(os.path.join(FOLDER, word)):
        time.sleep(0.005)
    for one in sockets:
        one.close()
    if word == "both":
        refused.send(b"an error, and not the end")
        os.close(reader)
    notify("STATUS=" + word)
signal.pause()
"""


@pytest.fixture
def scene(broker, tmp_path):
    return lambda components, **kwargs: Scene(broker, tmp_path, components, **kwargs)


def stored(s):
    with s.broker.client() as client:
        return collections.Counter({one["name"]: one["descriptors"] for one in client.request("STORED").document()["stored"]})


@pytest.mark.parametrize("crash", [False, True], ids=["", "after-a-crash"])
def test_what_has_hung_up_is_dropped_unless_fdpoll_is_0(scene, tmp_path, crash):
    text = TEXT.replace("FOLDER", repr(str(tmp_path)))
    s = scene({"hermes": "Type=notify\nFileDescriptorStoreMax=20\n" + runs(tmp_path, "storing", text)})
    s.wait_state("hermes", "ready")
    wanted = {"connection": 1, "unpolled": 1, "pair": 2, "mixed": 2, "pipe": 1, "file": 1}
    assert stored(s) == wanted
    if crash:
        old = s.broker.broker_pid
        os.kill(old, signal.SIGKILL)
        until(lambda: s.broker.broker_pid not in (None, old), "the next broker")
        assert stored(s) == wanted
    (tmp_path / "one").touch()
    del wanted["connection"]
    until(lambda: stored(s) == wanted, "the end of the connection")
    (tmp_path / "first").touch()
    until(lambda: s.component("hermes")["instances"][0]["status"] == "first", "the end of one of two")
    assert stored(s) == wanted
    (tmp_path / "second").touch()
    del wanted["pair"]
    until(lambda: stored(s) == wanted, "the end of both of them")
    (tmp_path / "both").touch()
    del wanted["pipe"]
    until(lambda: stored(s) == wanted, "the end of the pipe")
    until(lambda: s.component("hermes")["instances"][0]["status"] == "both", "the ends of the others")
    assert stored(s) == wanted
