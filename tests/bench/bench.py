"""
The driver: runs the parts and prints one Markdown table. Started by run.sh, which sets BUILD.

Figures are reported, not asserted: the exit status is 0 when everything ran.
"""
import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.dont_write_bytecode = True

import parts  # noqa: E402  (the path must be set first)
import parts_components  # noqa: E402

PARTS = ("acquire", "restart", "rolling", "many", "idle", "scale", "survive", "upgrade")
MODULES = {"rolling": parts_components, "many": parts_components}
WHO = {"bare": "bare", "fdpass": "fdpass", "libfdpass": "fdpass, by libfdpass", "s6": "s6-fdholder"}


def acquire_rows(result):
    bare = result["bare"]
    kinds = (("acquire_p50_ns", "acquire_p99_ns", "acquire, open connection"),
             ("connect_acquire_p50_ns", "connect_acquire_p99_ns", "connect + acquire"))
    for p50, p99, what in kinds:
        for key, figures in result.items():
            yield (f"{what}: {WHO[key]}", f"p50 {figures[p50] / 1e3:.2f} µs, p99 {figures[p99] / 1e3:.2f} µs",
                   f"{figures[p50] / bare[p50]:.2f}")
    for key, figures in result.items():
        rate = figures["acquires_per_second"]
        yield f"8 clients at once: {WHO[key]}", f"{rate:,.0f} acquires/s", f"{rate / bare['acquires_per_second']:.2f}"


def restart_rows(r):
    yield ("server killed and started again under load",
           f"{r['connections']:,} connections, {r['restarts']} restarts ({r['restarts_per_second']:.1f}/s), "
           f"{r['per_second']:,.0f} connections/s", "")
    yield "refused", f"**{r['refused']}**", ""
    yield "cut: accepted by the server that was killed", str(r["cut"]), ""
    yield "lost or failed otherwise", f"{r['lost'] + r['failed']} {r['last_error']}".rstrip(), ""
    yield ("connection to answer", f"p50 {r['p50_ns'] / 1e6:.2f} ms, p99 {r['p99_ns'] / 1e6:.2f} ms, "
           f"p99.9 {r['p999_ns'] / 1e6:.2f} ms, longest {r['longest_ns'] / 1e6:.1f} ms", "")


def three(q):
    return f"p50 {q['p50']:.2f}, p99 {q['p99']:.2f}, p99.9 {q['p999']:.2f}"


def milliseconds(q):
    return f"p50 {q['p50_ns'] / 1e6:.2f} ms, p99 {q['p99_ns'] / 1e6:.2f} ms, p99.9 {q['p999_ns'] / 1e6:.2f} ms"


def rolling_rows(result):
    for start_up, r in result.items():
        yield (f"restarted under load, {start_up} ms to start, {r['components']} components",
               f"{r['connections']:,} connections, {r['per_second']:,.0f}/s, {r['restarts']} restarts "
               f"({r['fdpass_restarts_per_second']:.1f}/s; bare {r['bare_restarts_per_second']:.1f}/s), "
               f"**failed {r['refused'] + r['cut'] + r['lost'] + r['failed']}**", "")
        yield "connection to answer, without restarts", milliseconds(r["without"]), ""
        yield ("with restarts", f"{milliseconds(r['with'])}, longest {r['longest_ns'] / 1e6:.1f} ms; broker and keeper "
               f"ran {r['processor_seconds'] * 1e3:.2f} ms a restart", "")
        yield "ratio of the two", f"**{three(r['ratio'])}**", ""
        yield "the same ratio of restarts that nobody manages", three(r["ratio_of_bare"]), ""
        yield "the same ratio of no restarts to no restarts", three(r["ratio_of_nothing"]), ""


def many_rows(result):
    first = next(iter(result.values()))
    for count, r in result.items():
        yield (f"{int(count):,} idle components",
               f"started in {r['seconds_to_ready']:.2f} s; {r['wake_ups']} wake-ups of broker and keeper in "
               f"{r['seconds']} s; RSS {r['rss_bytes'] / 2**20:.1f} MiB (PSS {r['pss_bytes'] / 2**20:.1f})", "")
        yield ("one of them restarted", f"{r['restart_seconds'] * 1e3:.1f} ms (median of {r['restarts']}; longest "
               f"{r['longest_restart_seconds'] * 1e3:.1f} ms; {r['restart_seconds'] / first['restart_seconds']:.2f} of "
               f"that of {next(iter(result))}), ready after {r['ready_seconds'] * 1e3:.0f} ms", "")
        yield ("all of them restarted", f"{r['restart_all_seconds']:.2f} s; another client waited for its answer at most "
               f"{r['longest_hello_seconds'] * 1e3:.1f} ms", "")


def idle_rows(r):
    yield (f"idle, {r['listeners']:,} listeners, sessions and leases",
           f"{r['wake_ups']} wake-ups in {r['seconds']:.0f} s", "")
    yield "their memory (RSS)", (f"{r['rss_fresh_bytes'] / 2**20:.1f} MiB with the listeners, "
                                 f"{r['rss_bytes'] / 2**20:.1f} MiB with all"), ""


def scale_rows(result):
    first = next(iter(result.values()))
    for count, r in result.items():
        per_listener = f", {r['rss_per_listener_bytes']:.0f} bytes a listener" if "rss_per_listener_bytes" in r else ""
        yield (f"{int(count):,} listeners", f"ready in {r['seconds_to_ready'] * 1e3:.0f} ms, "
               f"RSS {r['rss_bytes'] / 2**20:.1f} MiB{per_listener}; acquire p50 {r['acquire_p50_ns'] / 1e3:.2f} µs "
               f"({r['acquire_p50_ns'] / first['acquire_p50_ns']:.2f} of that with {next(iter(result))})", "")


def survive_rows(result):
    for what, r in result.items():
        yield (f"broker killed, {what} listeners: SIGKILL to answer",
               f"HELLO {r['hello_seconds'] * 1e3:.0f} ms, then ACQUIRE {r['acquire_seconds'] * 1e3:.0f} ms (median of "
               f"{r['rounds']}; longest {r['longest_acquire_seconds'] * 1e3:.0f} ms), then STATUS "
               f"{r['status_seconds'] * 1e3:.0f} ms; the new broker ran {r['processor_seconds'] * 1e3:.0f} ms until "
               f"HELLO", "")
        allowed = 4 * 2**20 + 1024 * r["listeners"]
        yield (f"{what} listeners: start, and memory of broker and keeper",
               f"ready in {r['seconds_to_ready'] * 1e3:.0f} ms; RSS {r['rss_bytes'] / 2**20:.1f} MiB, after the kill "
               f"{r['rss_after_bytes'] / 2**20:.1f} MiB (PSS {r['pss_bytes'] / 2**20:.1f}, "
               f"{r['pss_after_bytes'] / 2**20:.1f}); the bound is {allowed / 2**20:.1f} MiB", "")


def upgrade_rows(result):
    for what, r in result.items():
        yield (f"broker upgraded, {what} listeners: exec to answer",
               f"ACQUIRE {r['gap_seconds'] * 1e3:.0f} ms (median of {r['rounds']}; longest "
               f"{r['longest_gap_seconds'] * 1e3:.0f} ms); `fdpass upgrade` as a whole "
               f"{r['command_seconds'] * 1e3:.0f} ms, of which the trial {r['trial_seconds'] * 1e3:.0f} ms", "")


ROWS = {"acquire": acquire_rows, "restart": restart_rows, "rolling": rolling_rows, "many": many_rows, "idle": idle_rows, "scale": scale_rows,
        "survive": survive_rows, "upgrade": upgrade_rows}


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"cpus": len(os.sched_getaffinity(0)), "model": model, "kernel": platform.release(),
            "load": os.getloadavg()[0]}


def print_table(results, about):
    print(f"Measured on {about['cpus']} CPUs ({about['model']}), Linux {about['kernel']}, "
          f"load average at the start {about['load']:.2f}.\n")
    print("| what | measured | ratio to bare |\n|---|---|---|")
    for part in PARTS:
        for row in ROWS[part](results[part]) if part in results else ():
            print("| " + " | ".join(row) + " |")


def arguments():
    parser = argparse.ArgumentParser(prog="run.sh", description="Benchmarks of the broker; prints one table.")
    parser.add_argument("--quick", action="store_true", help="every part once and short")
    parser.add_argument("--only", metavar="PARTS", default=",".join(PARTS), help="of " + ",".join(PARTS))
    parser.add_argument("--json", metavar="FILE", help="write the figures there, besides")
    options = parser.parse_args()
    options.only = options.only.split(",")
    for part in options.only:
        if part not in PARTS:
            parser.error(f"there is no part {part}; there are {', '.join(PARTS)}")
    return options


def progress(text):
    print(text, file=sys.stderr, flush=True)


def main():
    options = arguments()
    about = machine()
    cpu = max(os.sched_getaffinity(0))
    results = {}
    with contextlib.ExitStack() as stack:
        idle = parts.Idle(options.quick, stack) if "idle" in options.only else None
        for part in ("acquire", "scale", "restart", "rolling", "many", "survive", "upgrade"):
            if part in options.only:
                progress(f"{part} ...")
                results[part] = getattr(MODULES.get(part, parts), part)(options.quick, cpu)
        if idle:
            progress("idle ...")
            results["idle"] = idle.read()
    print_table(results, about)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"schema": 1, "quick": options.quick, "machine": about, **results}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"bench: {error.cmd[0]} ended with status {error.returncode}, see above")
