#!/usr/bin/env python3
"""libpygc's C interface (plugin/capi/pygc.h): targets of every kind in one session, one after the other; commands that overlap; an engine that died.

usage: capi.py [-v]

Uses lib/libpygc.so of $PYGC_BUILD or build. Last line: N passed, N failed, N skipped.
"""
import ctypes
import json
import os
import signal
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import process  # noqa: E402
import triage  # noqa: E402

LIBRARY = os.path.join(os.path.dirname(os.path.dirname(process.PYGC)), "lib", "libpygc.so")
DONE, DIED, OUT, ERR = 5, 6, 1, 2


class Wrong(Exception):
    pass


def check(good, what):
    if not good:
        raise Wrong(what)


class Event(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("status", ctypes.c_int), ("bytes", ctypes.POINTER(ctypes.c_char)), ("size", ctypes.c_size_t), ("address", ctypes.c_uint64), ("done", ctypes.c_uint64),
                ("total", ctypes.c_uint64)]


TAKE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(ctypes.c_char), ctypes.c_size_t)


class Callbacks(ctypes.Structure):
    _fields_ = [("out", TAKE), ("err", TAKE), ("progress", ctypes.c_void_p), ("interrupts", ctypes.c_void_p), ("read", ctypes.c_void_p)]


class Session:
    def __init__(self):
        self.lib = ctypes.CDLL(LIBRARY)
        self.lib.pygc_open.restype = ctypes.c_void_p
        line = ctypes.create_string_buffer(512)
        self.handle = self.lib.pygc_open(line)
        check(self.handle, "pygc_open: %s" % line.value)

    def call(self, name, *arguments):
        return getattr(self.lib, "pygc_" + name)(ctypes.c_void_p(self.handle), *arguments)

    @staticmethod
    def words(words):
        return len(words), (ctypes.c_char_p * len(words))(*[w.encode() for w in words])

    def begin(self, *words):
        count, array = self.words(words)
        return self.call("begin", ctypes.c_size_t(count), array)

    def finish(self):
        """Events to the end: status, report, diagnostics; a death is status None."""
        texts, event = {OUT: b"", ERR: b""}, Event()
        while True:
            self.call("next", 1000, ctypes.byref(event))
            text = ctypes.string_at(event.bytes, event.size) if event.bytes and event.size else b""
            if event.kind in texts:
                texts[event.kind] += text
            if event.kind in (DONE, DIED):
                return (event.status if event.kind == DONE else None), texts[OUT].decode(), (texts[ERR] + (text if event.kind == DIED else b"")).decode()

    def run(self, *words):
        """pygc_run: status, report, diagnostics."""
        texts = [b"", b""]

        def take(which):
            def into(_, data, size):
                texts[which] += ctypes.string_at(data, size)
                return 0
            return TAKE(into)
        callbacks = Callbacks(take(0), take(1), None, None, None)
        count, array = self.words(words)
        status = self.call("run", ctypes.c_size_t(count), array, ctypes.byref(callbacks), None)
        return status, texts[0].decode(), texts[1].decode()

    def close(self):
        self.call("close")


def tracked(ran, kind):
    status, out, err = ran
    check(status == 0, "exit %s: %s" % (status, err))
    target = json.loads(out)["target"]
    check(target["kind"] == kind, "the target is %s" % target)
    return target["pid"]


def targets(session, p, core):
    """A process after a core, a core after a process, in one session; the same again with pygc_begin."""
    question = ("status", "--format", "json")
    for _ in range(2):
        session.call("set_core", core.encode())
        tracked(session.run(*question), "core")
        session.call("set_live_pid", p.pid)
        check(tracked(session.run(*question), "live") == p.pid, "another process")
    session.call("set_core", core.encode())
    check(session.begin(*question) == 0, "begin")
    tracked(session.finish(), "core")
    session.call("set_live_pid", p.pid)
    check(session.begin(*question) == 0, "begin")
    tracked(session.finish(), "live")
    session.call("set_no_target", b"nothing is chosen")
    status, _, err = session.run("leaks")
    check(status == 2 and "nothing is chosen" in err, "no target: exit %s: %s" % (status, err))
    check(session.call("is_usable") == 1, "usable")


def overlapping(session, p, core):
    """A second command before the first has ended is refused, and the first goes on."""
    session.call("set_core", core.encode())
    check(session.begin("leaks", "--format", "json", "--fail-on", "never") == 0, "begin")
    check(session.call("is_usable") == 0, "usable while it runs")
    for words in (("status",), ("self-test",)):
        check(session.begin(*words) == 2, "a second command was begun")
        status, out, err = session.run(*words)
        check(status == 2 and not out and "still runs a command" in err, "pygc_run beside it: exit %s: %s" % (status, err))
    session.call("set_live_pid", p.pid)
    check(session.begin("status") == 2, "a second command of another target was begun")
    status, out, err = session.finish()
    check(status == 0 and json.loads(out)["schema"] == "pygc.leaks/1" and json.loads(out)["target"]["kind"] == "core", "the first: exit %s: %s" % (status, err))
    check(tracked(session.run("status", "--format", "json"), "live") == p.pid, "the next one")


def self_test(session, p, core):
    """self-test after a core says what it says alone: it starts programs, which an engine that read a core cannot."""
    alone = session.run("self-test", "--format", "json")
    session.call("set_core", core.encode())
    tracked(session.run("status", "--format", "json"), "core")
    after = session.run("self-test", "--format", "json")
    check(after[0] == alone[0], "exit %s, not %s: %s" % (after[0], alone[0], after[2]))
    one, other = ({c["subject"]: c["state"] for s in json.loads(r[1])["result"]["sections"] for c in s["checks"]} for r in (alone, after))
    check(one == other, "self-test after a core: %s" % sorted(set(one.items()) ^ set(other.items())))
    tracked(session.run("status", "--format", "json"), "core")


def death(session, p, core):
    """An engine that dies ends its command with an event, after the document that JSON is asked for, and no further command begins."""
    session.call("set_core", core.encode())
    workers = []
    for name in os.listdir("/proc"):
        try:
            with open("/proc/%s/stat" % name) as f:
                parent = int(f.read().rpartition(")")[2].split()[1])
            with open("/proc/%s/cmdline" % name, "rb") as f:
                if parent == os.getpid() and b"--worker" in f.read():
                    workers.append(int(name))
        except (OSError, ValueError):
            pass
    check(len(workers) == 1, "the session's engines: %s" % workers)
    os.kill(workers[0], signal.SIGSTOP)
    check(session.begin("leaks", "--format", "json") == 0, "begin")
    os.kill(workers[0], signal.SIGKILL)
    status, out, err = session.finish()
    check(status is None and "signal 9" in err, "exit %s: %s" % (status, err))
    document = json.loads(out)
    check(document["schema"] == "pygc.fault/1" and document["target"]["path"] == core and document["result"]["exit"] == 6 and "signal 9" in document["result"]["message"], "the document: %s" % out)
    triage.validate(document, "fault.1.schema.json")
    check(session.begin("status") == 6 and session.run("status")[0] == 6 and session.call("is_usable") == 0, "commands after it")


def main():
    verbose = "-v" in sys.argv[1:]
    counts = {"passed": 0, "FAILED": 0, "skipped": 0}
    if not os.path.exists(LIBRARY):
        print("SKIPPED  no %s\n0 passed, 0 failed, 1 skipped" % LIBRARY)
        return 0
    found = [i for i in interpreters.discover() if i.kind == "default" and i.version.startswith("3.12")] or [i for i in interpreters.discover() if i.kind == "default"][-1:]
    with process.Program(found[0].path, os.path.join(HERE, "pages_target.py")) as p:
        core = p.gcore()
        for test in (targets, overlapping, self_test, death):
            session, state, why = Session(), "passed", ""
            try:
                test(session, p, core)
            except (Wrong, triage.Wrong, OSError, ValueError, KeyError) as e:
                state, why = "FAILED", "%s: %s" % (type(e).__name__, str(e)[:700])
            finally:
                session.close()
            counts[state] += 1
            if verbose or state != "passed":
                print("%s  %s%s" % (state, test.__name__, ": " + why if why else ""))
    print("%d passed, %d failed, %d skipped" % (counts["passed"], counts["FAILED"], counts["skipped"]))
    return 1 if counts["FAILED"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
