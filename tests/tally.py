"""Count what a test runner wrote: prints "PASSED FAILED SKIPPED".

tally.py meson FILE    testlog.json of meson; a Check program counts as its single tests
tally.py junit FILE    what pytest --junitxml wrote
tally.py counts FILE   lines "ok NAME", "not ok NAME", "skip NAME"
"""
import json
import re
import sys
import xml.etree.ElementTree

CHECK = re.compile(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)", re.MULTILINE)
# How programs that are not written with Check say what they did: TAP's lines.
TAP = re.compile(r"^(ok|not ok)\b([^\n]*)", re.MULTILINE)


def meson(path):
    passed = failed = skipped = 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            test = json.loads(line)
            found = CHECK.search(test.get("stdout") or "")
            if found:
                checks, failures, errors = map(int, found.groups())
                passed += checks - failures - errors
                failed += failures + errors
                # e.g. a leak found at the end of a program whose tests all passed
                if test["result"] != "OK" and failures + errors == 0:
                    failed += 1
            elif test["result"] in ("OK", "EXPECTEDFAIL"):
                lines = TAP.findall(test.get("stdout") or "")
                skips = sum("# SKIP" in rest for _, rest in lines)
                passed += max(len(lines) - skips, 0 if skips else 1)
                skipped += skips
            elif test["result"] == "SKIP":
                skipped += 1
            else:
                failed += 1
    return passed, failed, skipped


def junit(path):
    suites = list(xml.etree.ElementTree.parse(path).getroot().iter("testsuite"))
    total, failures, errors, skipped = (
        sum(int(suite.get(key, 0)) for suite in suites)
        for key in ("tests", "failures", "errors", "skipped"))
    # a test that fails in its body and again in a fixture's end counts once as a test
    failed = min(failures + errors, total) if total else failures + errors
    return total - failed - skipped, failed, skipped


def counts(path):
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    return (sum(line.startswith("ok ") for line in lines),
            sum(line.startswith("not ok ") for line in lines),
            sum(line.startswith("skip ") for line in lines))


if __name__ == "__main__":
    print(*{"meson": meson, "junit": junit, "counts": counts}[sys.argv[1]](sys.argv[2]))
