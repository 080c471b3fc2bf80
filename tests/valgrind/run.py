"""
run.py BUILD COUNTS: the unit tests once under valgrind, with its own view of descriptors.

The tests compare /proc/self/fd before and after; valgrind knows besides where a descriptor that was
left open came from, and sees memory that was never initialised, which the sanitizers do not.

A test that asks of valgrind what it cannot do (RLIMIT_NOFILE is its own, not the kernel's) returns at
once when UNDER_VALGRIND is set, and says why (tests/unit/support.h); that is printed here.
"""
import concurrent.futures
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
#: Check's own temporary file for messages is open while a test runs in its fork.
OWN = re.compile(r"\b(setup_messaging|open_tmp_file|tmpfile)\b|<inherited from parent>")
OPEN = re.compile(r"Open (?:AF_\w+ socket|file descriptor) \d+:")
ERRORS = re.compile(r"ERROR SUMMARY: [1-9]")
#: Errors that are not leaks.
MEMORY = re.compile(r"Invalid (read|write|free)|uninitialised|unaddressable|Mismatched free|Source and destination overlap")
CHECKS = re.compile(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)", re.MULTILINE)


#: They start programs and race with them: clone3, pidfds and cgroups are not valgrind's to follow, and what a
#: slow one leaves behind keeps our pipes open. The sanitizers look after these. Of those that start programs
#: "cgroup", "evidence", "operation" and "process_adopted" wait for all that they need, and pass.
OF_PROCESSES = {"component_kept", "connections", "health", "instance", "instance_accept", "instance_notify", "job", "notify_socket",
                "output", "process_tree", "spawn", "trigger"}


def unit_tests(build):
    listed = subprocess.run(["meson", "introspect", build, "--tests"], check=True, capture_output=True, text=True)
    return [test for test in json.loads(listed.stdout)
            if any(s.split(":")[-1] == "unit" for s in test["suite"]) and test["name"] not in OF_PROCESSES]


def serve_pidfds(path):
    """See pidfd.c: do for whoever asks, outside valgrind, what valgrind cannot."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(path)
    server.listen(64)

    def work():
        while True:
            peer, _ = server.accept()
            with peer:
                text, fds, _, _ = socket.recv_fds(peer, 4, 1)
                number = int.from_bytes(text, sys.byteorder, signed=True)
                answer, fd = 0, None
                try:
                    if fds:
                        signal.pidfd_send_signal(fds[0], number)
                    else:
                        fd = os.pidfd_open(number)
                except OSError as error:
                    answer = -error.errno
                socket.send_fds(peer, [answer.to_bytes(4, sys.byteorder, signed=True)], [] if fd is None else [fd])
                for one in fds + ([] if fd is None else [fd]):
                    os.close(one)

    threading.Thread(target=work, daemon=True).start()


def left_open(text):
    """Paragraphs about descriptors that our own code opened and left."""
    paragraphs, current = [], []
    for line in text.splitlines() + [""]:
        if OPEN.match(line) or not line:
            if current:
                paragraphs.append("\n".join(current))
            current = []
        if line and (OPEN.match(line) or current):
            current.append(line)
    return [p for p in paragraphs if not OWN.search(p)]


def findings(logs):
    """
    Of the test runner and of the forks that it makes for each test. What a test forks further is
    there to be killed, or to run out of something, and does not clean up: there only errors count that
    are not leaks.
    """
    texts = {int(log.suffix[1:]): re.sub(r"^==\d+==( |$)", "", log.read_text(errors="replace"), flags=re.MULTILINE)
             for log in logs}
    parents = {pid: int((re.search(r"Parent PID: (\d+)", text) or [0, 0])[1]) for pid, text in texts.items()}
    roots = {pid for pid in texts if parents[pid] not in texts}
    for pid, text in sorted(texts.items()):
        if pid in roots or parents[pid] in roots:
            yield from left_open(text)
            if ERRORS.search(text):
                yield text
        elif MEMORY.search(text):
            yield text


def run(test, folder, preload, server):
    name = test["name"]
    for old in folder.glob(f"{name}.*"):
        old.unlink()
    done = subprocess.run(
        ["valgrind", "--track-fds=yes", "--leak-check=full", "--errors-for-leak-kinds=definite", "--error-exitcode=99",
         f"--log-file={folder}/{name}.%p", *test["cmd"]],
        env={**os.environ, **test["env"], "CK_TIMEOUT_MULTIPLIER": "10", "UNDER_VALGRIND": "1",
             "LD_PRELOAD": str(preload), "PIDFD_SERVER": server},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=400, check=False)
    return name, done, list(dict.fromkeys(findings(folder.glob(f"{name}.*"))))


def main(build, counts):
    folder = pathlib.Path(build).resolve() / "valgrind"
    folder.mkdir(exist_ok=True)
    preload = folder / "pidfd.so"
    subprocess.run(["cc", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-shared", "-fPIC", HERE / "pidfd.c", "-o", preload,
                    "-ldl"], check=True)
    good = True
    with open(counts, "w", encoding="utf-8") as out, tempfile.TemporaryDirectory(prefix="fdpass-") as private, \
            concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        server = os.path.join(private, "pidfd")
        serve_pidfds(server)
        for name, done, found in pool.map(lambda test: run(test, folder, preload, server), unit_tests(build)):
            ok = done.returncode == 0 and not found
            checks = CHECKS.search(done.stdout)
            print(f"{'ok' if ok else 'not ok'} {name}: {checks.group() if checks else done.stdout[-500:]}")
            for skipped in dict.fromkeys(re.findall(r"^skipped under valgrind: .*", done.stdout, re.MULTILINE)):
                print(skipped)
            print(f"{'ok' if ok else 'not ok'} {name}", file=out)
            if not ok:
                good = False
                print(done.stdout[-3000:], done.stderr[-2000:], *found, sep="\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
