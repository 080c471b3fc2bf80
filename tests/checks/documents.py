"""Links between our pages lead somewhere, and no page or source names a file that is not there."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
#: `broker/core/loop.c` in a page is a claim that there is such a file
PATH = re.compile(r"`((?:broker|libfdpass|tests|units|docs|examples)/[A-Za-z0-9_./-]+)`")


def pages():
    yield from sorted(ROOT.glob("*.md"))
    yield from sorted((ROOT / "docs").rglob("*.md"))


def main():
    wrong = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        name = page.relative_to(ROOT)
        for target in LINK.findall(text):
            if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists():
                wrong.append(f"{name}: the link {target} leads nowhere")
        for target in PATH.findall(text):
            if not (ROOT / target.rstrip("/.")).exists():
                wrong.append(f"{name}: there is no {target}")
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
