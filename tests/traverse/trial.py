"""Doing things of which some kill or block the process, in a heap that has to survive: each is tried in a copy of the process first.

A copy is made with libc's fork (no at-fork handlers) and works through the list; where it dies or hangs, that item is left out and a new copy goes on
behind it. What went well there is then done in the process itself. Python 2.7 and 3.x."""
import ctypes
import os
import select
import signal

LIBC = ctypes.PyDLL(None)
SECONDS = 4  # for one item


def fork():
    return LIBC.fork()


def _attempt(items, do, start, seconds):
    """Runs `do` on items[start:] in a copy. What it said: '?' before each item, then '+' where `do` was true, else '-'."""
    read, write = os.pipe()
    pid = fork()
    if pid == 0:
        try:
            os.close(read)
            for number in (signal.SIGALRM, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            for i in range(start, len(items)):
                os.write(write, b"?")
                os.write(write, b"+" if do(items[i]) else b"-")
        finally:
            os._exit(0)
    os.close(write)
    said = b""
    # The copy is killed from outside: what it runs may block every signal that could end it.
    while select.select([read], [], [], seconds)[0]:
        chunk = os.read(read, 65536)
        if not chunk:
            break
        said += chunk
    os.kill(pid, signal.SIGKILL)
    os.close(read)
    os.waitpid(pid, 0)
    return said.decode("ascii")


def survivors(items, do, seconds=SECONDS):
    """(items for which `do` was true in a copy, items at which a copy died or hung)."""
    good, dead, at = [], [], 0
    while at < len(items):
        said = _attempt(items, do, at, seconds)
        tried = said.count("?")
        verdicts = said.replace("?", "")
        good += [items[at + k] for k in range(len(verdicts)) if verdicts[k] == "+"]
        if len(verdicts) < tried or tried == 0:
            dead.append(items[at + max(tried - 1, 0)])
        at += max(tried, 1)
    return good, dead
