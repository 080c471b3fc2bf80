"""
valgrind.py BUILD COUNTS: the unit tests once under valgrind, with its own view of descriptors.

The tests compare /proc/self/fd before and after; valgrind knows besides where a descriptor that was
left open came from, and sees memory that was never initialised, which the sanitizers do not.
"""
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys

#: Check's own temporary file for messages is open while a test runs in its fork.
OWN = re.compile(r"\b(setup_messaging|open_tmp_file|tmpfile|srunner_|tcase_|support_setup)")
OPEN = re.compile(r"Open (?:AF_\w+ socket|file descriptor) (\d+):")
CHECKS = re.compile(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)", re.MULTILINE)


def unit_tests(build):
    listed = subprocess.run(["meson", "introspect", build, "--tests"], check=True, capture_output=True, text=True)
    return [test for test in json.loads(listed.stdout) if any(s.split(":")[-1] == "unit" for s in test["suite"])]


def left_open(text):
    """Paragraphs about descriptors that our own code opened and left."""
    lines = [re.sub(r"^==\d+==( |$)", "", line) for line in text.splitlines()]
    paragraphs, current = [], []
    for line in lines + [""]:
        if OPEN.match(line) or not line:
            if current:
                paragraphs.append("\n".join(current))
            current = []
        if line and (OPEN.match(line) or current):
            current.append(line)
    return [p for p in paragraphs if "<inherited from parent>" not in p and not OWN.search(p)]


def run(test, folder):
    name = test["name"]
    for old in folder.glob(f"{name}.*"):
        old.unlink()
    done = subprocess.run(
        ["valgrind", "--track-fds=yes", "--leak-check=full", "--errors-for-leak-kinds=definite", "--quiet",
         "--error-exitcode=99", f"--log-file={folder}/{name}.%p", *test["cmd"]],
        env={**os.environ, **test["env"], "CK_TIMEOUT_MULTIPLIER": "10", "UNDER_VALGRIND": "1"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=500, check=False)
    findings = []
    for log in sorted(folder.glob(f"{name}.*")):
        text = log.read_text(encoding="utf-8", errors="replace")
        findings += left_open(text)
        if "ERROR SUMMARY" in text or "definitely lost" in text or "Invalid" in text or "uninitialised" in text:
            findings.append(text)
    return name, done, findings


def main(build, counts):
    folder = pathlib.Path(build).resolve() / "valgrind"
    folder.mkdir(exist_ok=True)
    good = True
    with open(counts, "w", encoding="utf-8") as out, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name, done, findings in pool.map(lambda test: run(test, folder), unit_tests(build)):
            ok = done.returncode == 0 and not findings
            found = CHECKS.search(done.stdout)
            print(f"{'ok' if ok else 'not ok'} {name}: {found.group() if found else done.stdout[-500:]}")
            print(f"{'ok' if ok else 'not ok'} {name}", file=out)
            if not ok:
                good = False
                print(done.stdout[-3000:], done.stderr[-2000:], *dict.fromkeys(findings), sep="\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
