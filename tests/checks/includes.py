"""
Dependencies point one way: which folder may include which header, and who may know which library.

    cli | fdpassd  ->  control -> components -> sockets -> config -> keeper -> core  ->  libfdpass -> libc

A folder uses libfdpass, core and those to its right. The command speaks the protocol like any client;
of the broker it uses only what checks a configuration.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)

#: What each folder of broker/ may include of the others.
MAY = {
    "core": {"core"},
    "config": {"core", "keeper", "config"},
    "sockets": {"core", "keeper", "config", "sockets"},
    "components": {"core", "keeper", "config", "sockets", "components"},
    "control": {"core", "keeper", "config", "sockets", "components", "control"},
    "keeper": {"core", "keeper"},
    "fdpassd": {"core", "config", "sockets", "components", "control", "keeper", "fdpassd"},
    # conflict.h explains an address in use to whoever runs "fdpass check"
    "cli": {"core", "config", "sockets", "cli"},
}

#: Who may include the header of a library, by prefix of the header's name.
LIBRARY_USERS = {
    "ev.h": ("broker/core/",),
    "systemd/": ("broker/core/inherited.c", "broker/core/notify.c", "broker/core/log.c"),
    "libmnl/": ("broker/sockets/",),
    "sys/capability.h": ("broker/config/", "broker/components/credentials.c"),
    "libsmartcols": ("broker/cli/",),
    "jansson.h": ("broker/cli/",),
}

#: Calls that have one home.
CALLS = {
    re.compile(r"\b(recvmsg|sendmsg|recvmmsg|sendmmsg)\s*\("):
        ("libfdpass/message.c", "libfdpass/notify.c", "broker/core/notify.c", "broker/core/log.c"),
    # these block when the receiver is full
    re.compile(r"\bsd_(p?id_)?notifyf?\s*\(|\bsd_journal_(send|print)\w*\s*\("): (),
    # consults name servers
    re.compile(r"\b(getpwnam|getpwuid|getgrnam|getgrgid|getgrouplist|getaddrinfo|gethostbyname)(_r)?\s*\("): (),
    # the default loop belongs to the process, not to a broker
    re.compile(r"\bev_default_loop\b|\bev_child_\w+\s*\("): (),
    re.compile(r"(?<![\w.>])(strcat|strncpy|gets|alloca)\s*\("): (),
    # not close-on-exec from birth
    re.compile(r"(?<![\w.>])(accept|dup|dup2|pipe|epoll_create|inotify_init)\s*\("):
        # there descriptors are put where the program to be run expects them
        ("broker/cli/descriptors.c", "broker/control/upgrade.c"),
}

#: A header that C libraries other than libc bring, so not for libfdpass.
LIBC = re.compile(r"^(sys|netinet|arpa|linux|bits)/|^[a-z0-9_]+\.h$")
NOT_LIBC = re.compile(r"^(ev|jansson|uthash|utlist|check)\.h$|^(systemd|libmnl|libsmartcols)/")

COMMENTS = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)


def blank(match):
    """A comment or a string without its text, but with its lines."""
    return '""' + "\n" * match.group().count("\n")


def wrong_includes(path, text):
    parts = path.split("/")
    for quote, header in INCLUDE.findall(text):
        if quote == '"' and parts[0] == "broker" and "/" in header:
            target = header.split("/")[0]
            if target not in MAY[parts[1]]:
                yield f"{path}: {parts[1]}/ must not include {header}"
        if parts[0] == "libfdpass":
            if quote == '"' and "/" in header:
                yield f"{path}: libfdpass must not include {header}"
            if quote == "<" and (NOT_LIBC.match(header) or not LIBC.match(header)):
                yield f"{path}: libfdpass uses libc only, not {header}"
        for prefix, users in LIBRARY_USERS.items():
            if header.startswith(prefix) and not path.startswith(users):
                yield f"{path}: only {', '.join(users)} may include {header}"


def wrong_calls(path, text):
    code = COMMENTS.sub(blank, text)
    for pattern, homes in CALLS.items():
        for found in pattern.finditer(code):
            # A declaration or a member of that name ends in ';' too, so only calls are looked at:
            # our own functions carry their noun first and do not match.
            if path not in homes:
                line = code.count("\n", 0, found.start()) + 1
                home = ", ".join(homes) or "nowhere"
                yield f"{path}:{line}: {found.group().strip(' (')} belongs {'in ' if homes else ''}{home}"


def main():
    wrong = []
    for folder in ("libfdpass", "broker"):
        for file in sorted((ROOT / folder).rglob("*.[ch]")):
            path = file.relative_to(ROOT).as_posix()
            text = file.read_text(encoding="utf-8")
            wrong += wrong_includes(path, text)
            wrong += wrong_calls(path, text)
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
