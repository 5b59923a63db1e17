#!/usr/bin/env python3
"""A hundred faults of the worker inside LLDB, and a hundred inside GDB: the debugger lives, says each time what happened, and then gives the right report.

usage: worker_faults.py [--count N] [--host lldb|gdb]... [-v]

The worker is the real one, analysing a real core. Between it and its host stands this program ($PYGC_WORKER names it: that is all the product knows of it), passes
on what both say, and at one message, in another stage each time, does what one fault is: deadly signals, no more memory, no more processor time, a stop for ever
(then somebody types Ctrl-C), an end in the middle of a message, at the greeting or between two commands, noise and lies in a message's place. One debugger on a
terminal bears all of them; after each it is asked something of its own. Then its report is the standalone program's, byte for byte, and nothing is left running.

Uses $PYGC_BUILD. Last line: N passed, N failed, N skipped."""
import argparse
import collections
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "support"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))

HELLO, REQUEST, OUT, PROGRESS, DESCRIBE, READ, DONE = 1, 2, 16, 18, 19, 20, 21   # plugin/worker/protocol.h
STOPPED = "stopped"         # in the same folder: a worker is, and somebody may type Ctrl-C
NAMES = {OUT: "the report", 17: "a warning", DESCRIBE: "the question what there is", READ: "a read of memory", DONE: "the end"}
FROM_WORKER = "messages"   # in the folder of plans: how many a whole command has, and their stages


# ---- between host and worker

def receive(connection, size):
    data = b""
    while len(data) < size:
        piece = connection.recv(min(size - len(data), 1 << 20))
        if not piece:
            return None
        data += piece
    return data


def message(connection):
    """(type, payload), None at the end."""
    header = receive(connection, 8)
    if header is None:
        return None
    size, kind = struct.unpack("<II", header)
    payload = receive(connection, size)
    return None if payload is None else (kind, payload)


def packed(kind, payload):
    return struct.pack("<II", len(payload), kind) + payload


class Ended(Exception):
    pass


class Relay:
    """Passes messages between `host` and the worker `pid` behind `worker`, and does `plan` at its time."""

    def __init__(self, host, worker, pid, plan, folder):
        self.host, self.worker, self.pid, self.plan, self.folder = host, worker, pid, plan, folder
        self.noise = random.Random(plan.get("seed", 0))
        self.seen = []

    def run(self):
        threading.Thread(target=self.from_host, daemon=True).start()
        try:
            self.from_worker()
        except (Ended, OSError):
            pass
        self.host.close()
        self.worker.close()

    def from_host(self):
        try:
            while True:
                got = message(self.host)
                if got is None:
                    break
                if got[0] == REQUEST:
                    self.seen = []
                self.worker.sendall(packed(*got))
        except OSError:
            pass
        try:
            self.worker.shutdown(socket.SHUT_WR)   # which ends a worker that waits for the next command
        except OSError:
            pass

    def from_worker(self):
        while True:
            got = message(self.worker)
            if got is None:
                raise Ended
            number = -1 if got[0] == HELLO else len(self.seen)
            if got[0] == PROGRESS:
                self.seen.append("`%s`" % got[1][4:4 + struct.unpack_from("<I", got[1])[0]].decode(errors="replace"))
            elif got[0] != HELLO:
                self.seen.append(NAMES.get(got[0], "message %d" % got[0]))
            if number == self.plan.get("at") or (got[0] == DONE and self.plan.get("at", -2) >= number):
                plan, self.plan = self.plan, {}
                getattr(self, plan["kind"])(plan.get("argument"), got)
            else:
                self.host.sendall(packed(*got))
            if got[0] == DONE and not os.path.exists(os.path.join(self.folder, FROM_WORKER)):
                with open(os.path.join(self.folder, FROM_WORKER), "w") as f:
                    json.dump(self.seen, f)

    # Faults. Each gets its argument and the message in whose place it stands.

    def signal(self, number, got):
        os.kill(self.pid, number)
        self.wait_for_end()

    def wait_for_end(self):
        while message(self.worker) is not None:
            pass
        raise Ended

    def idle(self, number, got):
        """Ended when the command is done, before the next one comes."""
        while got is not None and got[0] != DONE:
            self.host.sendall(packed(*got))
            got = message(self.worker)
        self.host.sendall(packed(*got))
        time.sleep(0.2)
        os.kill(self.pid, number)
        self.wait_for_end()

    def stop(self, _, got):
        self.host.sendall(packed(*got))
        os.kill(self.pid, signal.SIGSTOP)
        open(os.path.join(self.folder, STOPPED), "w").close()
        self.wait_for_end()

    def memory(self, _, got):
        """Nothing more can be allocated, and what is freed does not come back."""
        with open("/proc/%d/statm" % self.pid) as f:
            now = int(f.read().split()[0]) * resource.getpagesize()
        resource.prlimit(self.pid, resource.RLIMIT_AS, (now, now))
        self.pass_on(got)

    def processor(self, _, got):
        resource.prlimit(self.pid, resource.RLIMIT_CPU, (0, resource.RLIM_INFINITY))
        self.pass_on(got)

    def descriptors(self, _, got):
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (4, 4))
        self.pass_on(got)

    def pass_on(self, got):
        while got is not None:
            self.host.sendall(packed(*got))
            got = message(self.worker)
        raise Ended

    def cut(self, share, got):
        """The end comes within a message."""
        whole = packed(got[0], got[1] or b"x" * 100)
        self.host.sendall(whole[:max(1, int(len(whole) * share))])
        os.kill(self.pid, signal.SIGKILL)
        self.wait_for_end()

    def bytes(self, _, got):
        self.host.sendall(self.noise.getrandbits(8 * 300).to_bytes(300, "little"))
        self.pass_on(got)

    def huge(self, _, got):
        self.host.sendall(struct.pack("<II", 0xFFFFFFF0, OUT) + b"x" * 1000)
        self.pass_on(got)

    def payload(self, kind, got):
        """A message of a right type with a payload that is noise."""
        self.host.sendall(packed(kind, self.noise.getrandbits(8 * 37).to_bytes(37, "little")))
        self.pass_on(got)

    def unknown(self, kind, got):
        self.host.sendall(packed(kind, b"what is this"))
        self.pass_on(got)

    def read_all(self, _, got):
        """A wish for more memory than one message may have."""
        self.host.sendall(packed(READ, struct.pack("<QQI", 1, 0, 0xFFFFFFFF)))
        self.pass_on(got)


def between():
    """`worker_faults.py --worker FD PARENT`: becomes the worker, with a relay beside it."""
    folder = os.environ["PYGC_WORKER_FAULTS"]
    plan = {}
    for name in sorted(n for n in os.listdir(folder) if n.endswith(".plan")):
        try:
            os.rename(os.path.join(folder, name), os.path.join(folder, name + ".taken"))
        except OSError:
            continue
        with open(os.path.join(folder, name + ".taken")) as f:
            plan = json.load(f)
        break
    number = int(sys.argv[2])
    ours, its = socket.socketpair()
    pid = os.getpid()
    if os.fork() == 0:
        its.close()
        with open(os.path.join(folder, "relays"), "a") as f:
            f.write("%d\n" % os.getpid())
        try:
            Relay(socket.socket(fileno=number), ours, pid, plan, folder).run()
        finally:
            os._exit(0)
    os.dup2(its.fileno(), number)
    os.set_inheritable(number, True)
    real = os.environ["PYGC_REAL_WORKER"]
    os.execv(real, ["pygc", "--worker", sys.argv[2], sys.argv[3]])


if __name__ == "__main__" and len(sys.argv) == 4 and sys.argv[1] == "--worker":
    between()

import interpreters  # noqa: E402
import lldb_host  # noqa: E402
import process  # noqa: E402
import terminal  # noqa: E402

# ---- the faults: (what the relay does, its argument, what the user must read)
ENDED, NONSENSE = r"was ended by signal {0} SIG{1}", "sent what no worker sends"
KINDS = [("signal", int(getattr(signal, "SIG" + name)), ENDED.format(int(getattr(signal, "SIG" + name)), name))
         for name in ("ABRT", "SEGV", "BUS", "ILL", "FPE", "KILL", "SYS", "TRAP", "XCPU", "ALRM")]
KINDS += [("memory", None, "memory ran out|memory limit|cannot allocate|was ended by signal"), ("processor", None, "SIGXCPU|the report"), ("stop", None, "interrupted"),
          ("cut", 0.02, "ended by signal 9|" + NONSENSE), ("cut", 0.5, "ended by signal 9"), ("cut", 0.99, "ended by signal 9"), ("bytes", None, NONSENSE), ("huge", None, NONSENSE),
          ("payload", PROGRESS, NONSENSE), ("payload", DONE, NONSENSE), ("payload", READ, NONSENSE), ("unknown", 99, NONSENSE), ("unknown", HELLO, NONSENSE),
          ("read_all", None, NONSENSE), ("idle", int(signal.SIGKILL), "the report"), ("descriptors", None, "the report|descriptor|open files")]
GREETING = [("signal", int(signal.SIGKILL)), ("bytes", None), ("cut", 0.5), ("huge", None)]   # in place of the first message of all
REPORT = r"objects\s+wait until"


def plans(count, stages):
    """`count` faults, each kind at stages all over the command."""
    made = []
    for i in range(count):
        if i % 12 == 11:
            kind, argument = GREETING[(i // 12) % len(GREETING)]
            made.append({"kind": kind, "argument": argument, "at": -1, "seed": i, "says": "does not answer as a pygc worker"})
            continue
        kind, argument, says = KINDS[i % len(KINDS)]
        # Limits and a stop work only while there is something to do.
        places = max(1, stages // 2) if kind in ("memory", "processor", "stop", "descriptors") else stages
        made.append({"kind": kind, "argument": argument, "at": (i * 7) % places, "seed": i, "says": says.replace("the report", REPORT)})
    return made


class Debugger:
    """LLDB or GDB at a prompt, with the core open and pygc loaded."""

    def __init__(self, name, core, folder):
        self.name = name
        plugin = lldb_host.plugin()
        env = dict(os.environ, TERM="dumb", PYGC_WORKER=os.path.realpath(__file__), PYGC_REAL_WORKER=process.PYGC, PYGC_WORKER_FAULTS=folder)
        env["PATH"] = "/usr/bin:/bin:/usr/sbin:/sbin"   # the Python inside a debugger takes its home from the first python3 on the path
        if name == "lldb":
            argv = [lldb_host.versions()[0], "--no-lldbinit", "--no-use-colors"]
            self.prompt, self.ask, self.answer = r"\(lldb\) $", "version", r"lldb version \d+"
            opening = ["settings set interpreter.prompt-on-quit false", "plugin load " + plugin, "target create --core " + core]
        else:
            argv = [shutil.which("gdb"), "-nx", "-q", "-iex", "set style enabled off", "-iex", "set pagination off", "-iex", "set width 0"]
            self.prompt, self.ask, self.answer = r"\(gdb\) $", "print 6*7", r"= 42"
            opening = ["source " + os.path.join(os.path.dirname(plugin), "pygc_gdb.py"), "core-file " + core]
        self.folder, self.lines = folder, 0
        self.terminal = terminal.Terminal(argv, env)
        self.terminal.wait_for(self.prompt)
        for line in opening:
            self.type(line)

    def type(self, line, ctrl_c=False):
        """What it said to that. A prompt alone says little: one is drawn anew at times; so something is asked behind the line that no other line is answered with."""
        self.terminal.send(line + "\n")
        if ctrl_c:
            self.stop_when_stopped()
        said = self.terminal.wait_for(r"(?s)\n.*" + self.prompt, 120)
        self.lines += 1
        if self.name == "lldb":
            os.write(self.terminal.fd, b"no-such-command-%d\n" % self.lines)
            end = r"error: 'no-such-command-%d' is not" % self.lines
        else:
            os.write(self.terminal.fd, b"echo the e\\156d of line %d\\n\n" % self.lines)
            end = r"the end of line %d\b" % self.lines
        said = re.split(end, self.terminal.wait_for(r"(?s)%s.*\n.*%s" % (end, self.prompt), 120))[0]
        return said

    def stop_when_stopped(self):
        mark = os.path.join(self.folder, STOPPED)
        end = time.monotonic() + 60
        while not os.path.exists(mark) and time.monotonic() < end:
            time.sleep(0.05)
        if os.path.exists(mark):
            os.unlink(mark)
            os.write(self.terminal.fd, b"\x03")

    def lives(self):
        return re.search(self.answer, self.type(self.ask)) is not None


def left_running(folder):
    """Relays that did not end though their host or their worker did."""
    left = []
    with open(os.path.join(folder, "relays")) as f:
        for pid in f.read().split():
            try:
                with open("/proc/%s/cmdline" % pid) as c:
                    if "worker_faults" in c.read():
                        left.append(pid)
            except OSError:
                pass
    return left


def workers_of(pid):
    """Child processes of `pid` that are workers, or were."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open("/proc/%s/stat" % name) as f:
                rest = f.read().rsplit(")", 1)
            if name.isdigit() and int(rest[1].split()[1]) == pid and rest[0].split("(", 1)[1] in ("pygc", "worker_faults.p"):
                found.append("%s %s" % (name, rest[1].split()[0]))
        except (OSError, IndexError):
            pass
    return found


def try_host(name, core, expected, count, verbose):
    """(passed, [what is wrong])."""
    folder = tempfile.mkdtemp(prefix="pygc-faults-")
    wrong, passed, met = [], 0, collections.Counter()
    try:
        debugger = Debugger(name, core, folder)
        try:
            first = debugger.type("pygc leaks")
            if not re.search(REPORT, first):
                raise AssertionError("no report to begin with: " + repr(first[:700]))
            with open(os.path.join(folder, FROM_WORKER)) as f:
                stages = json.load(f)
            worker = workers_of(debugger.terminal.pid)[0].split()[0]
            os.kill(int(worker), signal.SIGKILL)
            debugger.type("pygc leaks")   # which finds that it is gone
            for number, plan in enumerate(plans(count, len(stages))):
                with open(os.path.join(folder, "%05d.plan" % number), "w") as f:
                    json.dump(plan, f)
                where = "greeting" if plan["at"] < 0 else stages[min(plan["at"], len(stages) - 1)]
                said = debugger.type("pygc leaks", plan["kind"] == "stop")
                if os.path.exists(os.path.join(folder, "%05d.plan" % number)):   # the worker of before was still there, and fit
                    said = debugger.type("pygc leaks", plan["kind"] == "stop")
                faults = []
                if os.path.exists(os.path.join(folder, "%05d.plan" % number)):
                    faults.append("no worker was started for it")
                if not re.search(plan["says"], said):
                    faults.append("it did not say %r but: %s" % (plan["says"], said[-400:]))
                if not debugger.lives():
                    faults.append("the debugger does not answer")
                passed += not faults
                met[plan["kind"]] += 1
                what = "%s: fault %d, %s%s at %s" % (name, number, plan["kind"], "" if plan["argument"] is None else " %s" % plan["argument"], where)
                wrong += [what + ": " + f for f in faults]
                if verbose or faults:
                    print(("FAILED  " if faults else "ok      ") + what + "".join(": " + f for f in faults), flush=True)
                if plan["kind"] in ("idle", "descriptors", "processor", "memory"):   # these may leave a worker that is fit: the next fault wants a new one
                    for pid in [w.split()[0] for w in workers_of(debugger.terminal.pid)]:
                        os.kill(int(pid), signal.SIGKILL)
                    debugger.type("pygc leaks --limit 1")
                    for pid in [w.split()[0] for w in workers_of(debugger.terminal.pid)]:
                        os.kill(int(pid), signal.SIGKILL)
            out = os.path.join(folder, "after.json")
            for _ in range(2):
                if not os.path.exists(out):
                    debugger.type("pygc leaks --format json -o " + out)
            with open(out) as f:
                if process.result_bytes(f.read()) != expected:
                    wrong.append("%s: the report after all faults is not the standalone program's" % name)
        finally:
            debugger.terminal.close()
        time.sleep(1)
        if left_running(folder):
            wrong.append("%s: left running: %s" % (name, left_running(folder)))
        print("%s: %d of %d faults survived with a message; %s; %d stages" % (name, passed, count, ", ".join("%s %d" % m for m in sorted(met.items())), len(stages)))
    except (AssertionError, OSError) as e:
        wrong.append("%s: %s" % (name, e))
        print("FAILED  %s: %s" % (name, e))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return passed, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--host", action="append", choices=["lldb", "gdb"])
    parser.add_argument("-v", action="store_true")
    options = parser.parse_args()
    passed = failed = skipped = 0
    found = next((i for i in interpreters.discover() if i.kind == "default" and i.version.startswith("3.1")), None)
    if found is None:
        print("no interpreter (scripts/interpreters install)\n0 passed, 1 failed, 0 skipped")
        return 1
    with process.Program(found.path, "node_tree", ["8"], twins=1) as program:
        core = program.kernel_core(program.twins[0], 0x33)
        out = os.path.join(program.folder, "standalone.json")
        ran = process.pygc("-c", core, "leaks", "--format", "json", "-o", out)
        if not os.path.exists(out):
            print("the standalone program wrote no report: %s\n0 passed, 1 failed, 0 skipped" % ran.tail())
            return 1
        with open(out) as f:
            expected = process.result_bytes(f.read())
        for host in options.host or ["lldb", "gdb"]:
            if not (lldb_host.versions() if host == "lldb" else shutil.which("gdb")):
                skipped += options.count
                print("skipped %s: it is not here" % host)
                continue
            survived, wrong = try_host(host, core, expected, options.count, options.v)
            passed += survived
            failed += len(wrong)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
