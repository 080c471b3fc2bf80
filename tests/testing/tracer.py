"""
tracer.py PID: the process does not end, whatever kills it, before this one's standard input does.

ptrace(2) stops it in the middle of its exit. Says "up", and "held" when it has come to that.
"""
import ctypes
import os
import signal
import sys

PTRACE_CONT, PTRACE_SEIZE = 7, 0x4206
PTRACE_O_TRACEEXIT, PTRACE_EVENT_EXIT, PTRACE_EVENT_STOP = 0x40, 6, 128
WALL = 0x40000000


def main(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(PTRACE_SEIZE, pid, None, PTRACE_O_TRACEEXIT) < 0:
        sys.exit(f"ptrace: {os.strerror(ctypes.get_errno())}")
    print("up", flush=True)
    while True:
        _, status = os.waitpid(pid, WALL)
        if not os.WIFSTOPPED(status):
            sys.exit("it ended")
        event, number = status >> 16, os.WSTOPSIG(status)
        if event == PTRACE_EVENT_EXIT:
            break
        libc.ptrace(PTRACE_CONT, pid, None, 0 if event == PTRACE_EVENT_STOP else number)
    print("held", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main(int(sys.argv[1]))
