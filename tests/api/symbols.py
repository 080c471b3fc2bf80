#!/usr/bin/python3
"""symbols.py LIBFDPASS_SO SOURCE_ROOT

One list in four places: what the library exports, libfdpass.sym, fdpass.h, the man pages.
"""
import pathlib
import re
import subprocess
import sys


def exported(library):
    out = subprocess.run(["nm", "-D", "--defined-only", library], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    symbols = [line.split()[2] for line in out.splitlines()]
    # the version node itself, and what sanitizers and coverage put into everything
    return {s.split("@")[0]: s.partition("@@")[2] for s in symbols
            if not re.match(r"FDPASS_\d+(@|$)|__|_init$|_fini$", s)}


def in_version_script(path):
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
    nodes = {}
    for node, body in re.findall(r"(FDPASS_\d+) \{(.*?)\}", text, flags=re.S):
        for name in re.findall(r"^\s*(\w+);", body, flags=re.M):
            if name in nodes:
                sys.exit(f"{path}: {name} twice")
            nodes[name] = node
    return nodes


def in_header(path):
    text = path.read_text()
    declared = re.findall(r"/\*(?:(?!\*/).)*?\*/\n[^;/]*?\b(fdpass_\w+)\([^;]*;", text, flags=re.S)
    without_comments = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    every = set(re.findall(r"\b(fdpass_\w+)\(", without_comments))
    for name in every - set(declared):
        sys.exit(f"{path}: {name} has no comment of its own right above it")
    comments = re.findall(r"/\*((?:(?!\*/).)*?)\*/\n[^;/]*?\b(fdpass_\w+)\(", text, flags=re.S)
    for comment, name in comments:
        if not re.search(r"^ \* Since: \d+$", comment, flags=re.M):
            sys.exit(f"{path}: {name} does not say since when it exists")
    return every


def prototypes(text):
    """Each call as it is declared, on one line."""
    return {m[1]: " ".join(m[0].split())
            for m in re.finditer(r"^(?!#)\w[\w *]*?\b(fdpass_\w+)\([^;]*\);", text, flags=re.M)}


def errors(header):
    """The errors that the comment of each call in the header names."""
    pairs = re.findall(r"/\*((?:(?!\*/).)*?)\*/\n[^;/]*?\b(fdpass_\w+)\(", header, flags=re.S)
    return {name: set(re.findall(r"-(E[A-Z0-9]+)\b", comment)) for comment, name in pairs}


def in_pages(folder, header):
    """Each call in the synopsis of a page that is called like it, itself or as an alias. The synopsis
    has the declarations of the header, and the page all the errors that the header names."""
    declared, named = prototypes(re.sub(r"/\*.*?\*/", "", header, flags=re.S)), errors(header)
    aliases = {}
    for line in (folder / "aliases").read_text().splitlines():
        if line and not line.startswith("#"):
            alias, page = line.split()
            aliases[alias] = page
    documented = set()
    for page in folder.glob("fdpass_*.3.scd"):
        name = page.name[:-len(".scd")]
        text = page.read_text()
        own = {name} | {alias for alias, target in aliases.items() if target == name}
        synopsis = text.partition("# SYNOPSIS")[2].partition("\n# ")[0]
        calls = prototypes(synopsis)
        if {f"{call}.3" for call in calls} != own:
            sys.exit(f"{page}: synopsis has {sorted(calls)}, page and aliases are {sorted(own)}")
        for call, prototype in calls.items():
            if prototype != declared.get(call):
                sys.exit(f"{page}: {prototype!r}, but fdpass.h has {declared.get(call)!r}")
            for error in sorted(named[call]):
                if f"-{error}" not in text:
                    sys.exit(f"{page}: {call} can return -{error}, says fdpass.h")
        documented |= set(calls)
    return documented


def compare(what, names, reference_what, reference):
    for name in sorted(names ^ reference):
        print(f"{name}: {'only ' if name in names else 'not '}in {what} "
              f"(compared with {reference_what})")
    return names != reference


def main():
    library, root = sys.argv[1], pathlib.Path(sys.argv[2])
    library_symbols = exported(library)
    script = in_version_script(root / "libfdpass/libfdpass.sym")
    header = in_header(root / "libfdpass/fdpass.h")
    failed = compare("the library", set(library_symbols), "libfdpass.sym", set(script))
    for name in set(library_symbols) & set(script):
        if library_symbols[name] not in ("", script[name]):
            print(f"{name}: {library_symbols[name]} in the library, {script[name]} in libfdpass.sym")
            failed = True
    failed |= compare("fdpass.h", header, "libfdpass.sym", set(script))
    failed |= compare("the man pages", in_pages(root / "docs/man", (root / "libfdpass/fdpass.h").read_text()), "libfdpass.sym", set(script))
    print(f"{len(script)} symbols")
    sys.exit(failed)


main()
