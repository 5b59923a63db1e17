#!/usr/bin/env python3
"""What pygc costs, against the interpreter's own gc.collect() of the same heap: a table, and with --json a record of it.

usage: bench.py [--shape S]... [--size N]... [--interpreter VERSION]... [--reps N] [--measure NAME]... [--json FILE] [--history] [--small]

For each interpreter (default 3.12), shape and size (heaps.py; default mixed, 1,000,000): one process is built and dumped once by gcore, then REPS (3) rounds
run gc.collect() in a forked copy of it and each measure once, in an order that turns, so that what else the machine does hits all alike. Medians.

  leaks      pygc -c CORE leaks                 leaks1   the same with --threads 1       leaks-zst   the same of the core under zstd
  refcounts  pygc -c CORE refcounts             heap     pygc -c CORE heap (all leaves, dominators, retained sizes)
  live       pygc -p PID leaks; `pause` is how long the process stood still
  gdb, lldb  `pygc leaks` in the debugger on that core, less the time that it takes without the command; lldb-live: attached to the process
  reads-lldb all writable memory of the process through SBProcess.ReadMemory, 1 MiB at a time, and nothing else
  leaks-cold leaks, the core not in the page cache; reads-cold: that file read from start to end, and nothing else
  census, walk-gdb, walk-lldb   what people have without pygc: gc.get_objects() and a Counter in the process; a debugger's Python that reads each object's
             header, up to 1,000,000 objects (the gdb and the lldb of this machine, each less its own start)

`x gc`: the median divided by that of gc.collect(). `MB`: peak of anonymous memory of all of pygc's processes (the core itself is mapped, not copied), seen
each 2 ms; `B/obj`: without its first 64 MB. `exact`: unreachable as the interpreter counts them.
--history appends a line for each row to tests/bench/history.jsonl and says what is worse by a quarter than the last one of the same kind.
--small is for scripts/test: 100,000 objects, leaks and refcounts, once. Exit 1: an answer was not exact. Last line: N passed, N failed, N skipped."""
import argparse
import glob
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
sys.path.insert(0, os.path.join(ROOT, "scripts", "lib"))
import interpreters  # noqa: E402
import process  # noqa: E402
import prompt  # noqa: E402

HISTORY = os.path.join(HERE, "history.jsonl")
FREE_BYTES = 64 << 20    # of anonymous memory, before what each object costs
WORSE = 1.25


class Heap:
    """One process of heaps.py, and its core."""

    def __init__(self, interpreter, shape, size):
        self.folder = tempfile.mkdtemp(prefix="pygc-bench-")
        self.interpreter, self.shape = interpreter, shape
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        with open(os.path.join(self.folder, "stderr"), "wb") as stderr:
            self.child = subprocess.Popen(getattr(interpreter, "wrapper", []) + [interpreter.path, os.path.join(HERE, "heaps.py"), shape, str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                          stderr=stderr, universal_newlines=True, env=environment)
        self.about = self._answer()
        self.core = os.path.join(self.folder, "core")

    def _answer(self):
        line = self.child.stdout.readline()
        if not line:
            with open(os.path.join(self.folder, "stderr"), errors="replace") as f:
                raise process.CannotTest("the heap could not be built: " + " | ".join(f.read().strip().splitlines()[-2:]))
        return json.loads(line)

    def ask(self, what):
        self.child.stdin.write(what + "\n")
        self.child.stdin.flush()
        return self._answer()

    def dump(self):
        subprocess.run(["gcore", "-o", self.core, str(self.child.pid)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.rename("%s.%d" % (self.core, self.child.pid), self.core)

    def close(self):
        self.child.kill()
        self.child.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)


class AnonymousMemory(threading.Thread):
    """Watches a process and its children; `peak` is the most anonymous memory that they held together, in bytes."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.ended = pid, 0, threading.Event()

    def run(self):
        while not self.ended.wait(0.002):
            self.peak = max(self.peak, sum(map(self.of, self.family())))

    def family(self):
        try:
            with open("/proc/%d/task/%d/children" % (self.pid, self.pid)) as f:
                return [self.pid] + [int(p) for p in f.read().split()]
        except OSError:
            return [self.pid]

    @staticmethod
    def of(pid):
        try:
            with open("/proc/%d/status" % pid) as f:
                return next((int(line.split()[1]) << 10 for line in f if line.startswith("RssAnon")), 0)
        except OSError:
            return 0


class Run:
    """One command, from start to end."""

    def __init__(self, command, stdin=None):
        started = time.perf_counter()
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as told:
            child = subprocess.Popen(command, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL, stdout=said, stderr=told)
            watch = AnonymousMemory(child.pid)
            watch.start()
            if stdin:
                child.communicate(stdin.encode())
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            self.seconds = time.perf_counter() - started
            watch.ended.set()
            watch.join()
            said.seek(0)
            told.seek(0)
            self.out, self.err = said.read().decode(errors="replace"), told.read().decode(errors="replace")
        self.code, self.peak, self.cpu, self.faults = child.returncode, watch.peak, usage.ru_utime + usage.ru_stime, usage.ru_minflt


def lldb():
    """The lldb of this machine. LLDB 14 does not find its own Python package, and one that finds another python3 first on PATH not the six that it needs."""
    program = shutil.which("lldb")
    if program is None:
        raise process.CannotTest("no lldb here")
    beside = glob.glob(os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(program))), "lib/python3*/*-packages"))
    return ["env", "PYTHONPATH=" + os.pathsep.join(beside + ["/usr/lib/python3/dist-packages"]), program, "--no-lldbinit", "--batch"]


def report_of(text):
    return json.JSONDecoder().raw_decode(text[text.index("{"):])[0]  # a debugger may say more after it


class Measure:
    """A way to look at a heap. once() gives a dict with at least `seconds`, and `unreachable` where it says that."""

    def __init__(self, heap):
        self.heap = heap

    def once(self):
        raise NotImplementedError


class Command(Measure):
    words = ("leaks",)

    def target(self):
        return ["-c", self.heap.core]

    def once(self):
        run = Run([process.PYGC] + self.target() + list(self.words) + ["--format", "json", "--quiet"])
        try:
            report = report_of(run.out)
        except ValueError:
            raise process.CannotTest("exit %d: %s" % (run.code, (run.err or run.out).strip()[-200:]))
        if not report["complete"]:
            raise process.CannotTest("partial: %s" % json.dumps(report["missing"])[:200])
        return {"seconds": run.seconds, "cpu": run.cpu, "peak": run.peak, "faults": run.faults, "unreachable": report["result"].get("unreachable"),
                "pause": report["timing"].get("pause_seconds")}


class OneThread(Command):
    words = ("leaks", "--threads", "1")


class Compressed(Command):
    def __init__(self, heap):
        super().__init__(heap)
        subprocess.run(["zstd", "-q", "-1", "-k", "-f", heap.core], check=True)

    def target(self):
        return ["-c", self.heap.core + ".zst"]


class Refcounts(Command):
    words = ("refcounts",)


class HeapCommand(Command):
    words = ("heap",)


class Questions(Measure):
    """What a user at the prompt waits for once the heap is loaded: `seconds` of the first question that needs the reverse graph,
    then `parts`, each asked ten times."""

    def __init__(self, heap):
        super().__init__(heap)
        (name, count), = self.rows("select type, count(*) from objects where type glob '__main__.*' group by type order by 2 desc limit 1")
        (of_type,), = self.rows("select printf('0x%%x', address) from types where name = '%s'" % name)
        (one,), = self.rows("select printf('0x%%x', address) from objects where type = '%s' limit 1 offset %d" % (name, int(count) // 2))
        self.questions = {"path of one of %s %s" % (count, name): "path " + one, "path of that class": "path " + of_type, "show of that class": "show " + of_type, "referrers of that class": "referrers " + of_type,
                          "referents of that class": "referents " + of_type}

    def rows(self, query):
        ran = process.pygc("-c", self.heap.core, "sql", "--format", "csv", query)
        if ran.code != 0:
            raise process.CannotTest("%s: exit %s: %s" % (query, ran.code, ran.tail()))
        return [line.split(",") for line in ran.out.splitlines()[1:]]

    def once(self):
        terminal = prompt.Terminal(self.heap.folder, "-c", self.heap.core)
        terminal.wait_for("pygc> ")
        def seconds(line):
            started = time.perf_counter()
            said = terminal.command(line, 600)
            if "exact" not in said:
                raise process.CannotTest("%s: %s" % (line, said[-300:]))
            return time.perf_counter() - started
        lines = list(self.questions.values())
        seconds(lines[-1])   # loads all objects; the reverse graph is not needed for it
        first = seconds(lines[0])
        parts = {what: statistics.median(seconds(line) for _ in range(10)) for what, line in self.questions.items()}
        terminal.type("quit\n")
        terminal.end()
        return {"seconds": first, "parts": parts}


class Live(Command):
    def target(self):
        return ["-p", str(self.heap.child.pid)]


class InDebugger(Measure):
    """The command within a debugger, less a run of that debugger which only opens the core."""

    def commands(self, with_pygc):
        raise NotImplementedError

    def once(self):
        bare = Run(self.commands(False))
        run = Run(self.commands(True))
        return {"seconds": run.seconds - bare.seconds, "unreachable": report_of(run.out)["result"]["unreachable"]}


class Gdb(InDebugger):
    def commands(self, with_pygc):
        out = ["gdb", "-nx", "-batch", "-ex", "set confirm off", "-ex", "source " + os.path.join(os.path.dirname(os.path.dirname(process.PYGC)), "lib", "pygc_gdb.py"),
               self.heap.interpreter.path, self.heap.core]
        return out[:-2] + ["-ex", "file " + out[-2], "-ex", "core-file " + out[-1]] + (["-ex", "pygc leaks --format json --quiet"] if with_pygc else [])


class Lldb(InDebugger):
    def commands(self, with_pygc):
        plugin = os.path.join(os.path.dirname(os.path.dirname(process.PYGC)), "lib", "pygc_lldb.so")
        out = lldb() + ["-o", "plugin load " + plugin, "-o", "target create --core %s %s" % (self.heap.core, self.heap.interpreter.path)]
        return out + (["-o", "pygc leaks --format json --quiet"] if with_pygc else [])


class ColdCache(Command):
    """The core is not in the page cache: the kernel is told to forget it before each run."""

    def once(self):
        with open(self.heap.core, "rb") as f:
            os.fsync(f.fileno())
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return super().once()


class ReadsOfFile(Measure):
    """The floor of ColdCache: the core read from start to end, and nothing else."""

    def once(self):
        with open(self.heap.core, "rb", buffering=0) as f:
            os.fsync(f.fileno())
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            started, piece = time.perf_counter(), bytearray(1 << 20)
            while f.readinto(piece):
                pass
        return {"seconds": time.perf_counter() - started}


class LldbLive(InDebugger):
    """As Lldb, attached to the live process."""

    def commands(self, with_pygc):
        plugin = os.path.join(os.path.dirname(os.path.dirname(process.PYGC)), "lib", "pygc_lldb.so")
        out = lldb() + ["-o", "plugin load " + plugin, "-o", "process attach --pid %d" % self.heap.child.pid]
        return out + (["-o", "pygc leaks --format json --quiet"] if with_pygc else []) + ["-o", "detach"]


class ReadsOfLldb(Measure):
    """What a script in LLDB pays before it has looked at anything: all writable memory of the live process through SBProcess.ReadMemory, 1 MiB at a time."""
    program = """
import lldb, time
process, error, total, start = lldb.debugger.GetSelectedTarget().GetProcess(), lldb.SBError(), 0, time.perf_counter()
for first, last in {areas!r}:
    for at in range(first, last, 1 << 20):
        total += len(process.ReadMemory(at, min(1 << 20, last - at), error) or b"")
print("SECONDS", time.perf_counter() - start, total)
"""

    def once(self):
        script, areas = os.path.join(self.heap.folder, "reads.py"), []
        with open("/proc/%d/maps" % self.heap.child.pid) as f:
            for line in f:
                words = line.split()
                if words[1].startswith("rw"):
                    areas.append(tuple(int(a, 16) for a in words[0].split("-")))
        with open(script, "w") as f:
            f.write(self.program.format(areas=areas))
        run = Run(lldb() + ["-o", "process attach --pid %d" % self.heap.child.pid, "-o", "command script import " + script, "-o", "detach"])
        told = [line.split() for line in run.out.splitlines() if line.startswith("SECONDS")]
        if not told or int(told[0][2]) < sum(b - a for a, b in areas) / 2:
            raise process.CannotTest((run.err or run.out).strip()[-200:])
        return {"seconds": float(told[0][1])}


class Census(Measure):
    def once(self):
        return self.heap.ask("census")


class WalkGdb(Measure):
    program = """
import gdb, struct, time
addresses = [int(a) for a in open({addresses!r}).read().split()]
inferior, types, start = gdb.selected_inferior(), {{}}, time.perf_counter()
for a in addresses:
    word = struct.unpack_from("<Q", inferior.read_memory(a, 16), 8)[0]
    types[word] = types.get(word, 0) + 1
print("SECONDS", time.perf_counter() - start)
"""

    def commands(self, script):
        return ["gdb", "-nx", "-batch", "-ex", "core-file " + self.heap.core, "-ex", "source " + script]

    def once(self):
        addresses, script = os.path.join(self.heap.folder, "addresses"), os.path.join(self.heap.folder, type(self).__name__ + ".py")
        if not os.path.exists(addresses):
            answer = subprocess.run([process.PYGC, "-c", self.heap.core, "sql", "select address from objects where tracked limit 1000000", "--limit", "0", "--format", "csv",
                                     "--quiet"], stdout=subprocess.PIPE, universal_newlines=True).stdout.split()[1:]
            with open(addresses, "w") as f:
                f.write("\n".join(str(int(a, 0)) for a in answer))
        with open(script, "w") as f:
            f.write(self.program.format(addresses=addresses))
        run = Run(self.commands(script))
        seconds = [float(line.split()[1]) for line in run.out.splitlines() if line.startswith("SECONDS")]
        if not seconds:
            raise process.CannotTest((run.err or run.out).strip()[-200:])
        with open(addresses) as f:
            walked = len(f.read().split())
        return {"seconds": seconds[0] * self.heap.about["tracked"] / walked}


class WalkLldb(WalkGdb):
    program = """
import lldb, struct, time
addresses = [int(a) for a in open({addresses!r}).read().split()]
process, error, types, start = lldb.debugger.GetSelectedTarget().GetProcess(), lldb.SBError(), {{}}, time.perf_counter()
for a in addresses:
    word = struct.unpack_from("<Q", process.ReadMemory(a, 16, error), 8)[0]
    types[word] = types.get(word, 0) + 1
print("SECONDS", time.perf_counter() - start)
"""

    def commands(self, script):
        return lldb() + ["-o", "target create --core " + self.heap.core, "-o", "command script import " + script]


MEASURES = {"leaks": Command, "leaks1": OneThread, "leaks-zst": Compressed, "refcounts": Refcounts, "heap": HeapCommand, "questions": Questions, "live": Live, "gdb": Gdb, "lldb": Lldb, "lldb-live": LldbLive,
            "reads-lldb": ReadsOfLldb, "leaks-cold": ColdCache, "reads-cold": ReadsOfFile,
            "census": Census, "walk-gdb": WalkGdb, "walk-lldb": WalkLldb}


def median(rows, name):
    values = [r[name] for r in rows if r.get(name) is not None]
    return statistics.median(values) if values else None


def machine():
    with open("/proc/cpuinfo") as f:
        models = [line.partition(":")[2].strip() for line in f if line.startswith("model name")]
    return "%d x %s" % (len(models), models[0] if models else "?")


def commit():
    done = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True)
    return done.stdout.strip() or "unknown"


def measure_heap(interpreter, shape, size, names, reps):
    """The rows of one heap, the reference first, and what was wrong."""
    heap, wrong = Heap(interpreter, shape, size), []
    try:
        heap.dump()
        measures, rows, reference = {}, {}, []
        for name in names:
            try:
                measures[name] = MEASURES[name](heap)
            except (process.CannotTest, OSError, subprocess.CalledProcessError) as e:
                wrong.append("%s: %s" % (name, e))
        order = list(measures)
        for turn in range(reps):
            reference.append(heap.ask("collect"))
            first = turn % max(1, len(order))
            for name in order[first:] + order[:first]:
                try:
                    rows.setdefault(name, []).append(measures[name].once())
                except (process.CannotTest, ValueError, OSError) as e:
                    wrong.append("%s: %s" % (name, e))
        load = os.getloadavg()[0]
        tracked, seconds, true = heap.about["tracked"], median(reference, "seconds"), reference[0]["unreachable"]
        base = {"date": time.strftime("%Y-%m-%d"), "commit": commit(), "machine": machine(), "load": load, "version": heap.about["version"], "shape": shape,
                "tracked": tracked, "core_bytes": os.path.getsize(heap.core), "reps": reps}
        out = [dict(base, measure="gc.collect()", seconds=seconds, ratio=1.0)]
        for name in order:
            found = rows.get(name)
            if not found:
                continue
            exact = {r["unreachable"] for r in found if r.get("unreachable") is not None}
            out.append(dict(base, measure=name, seconds=median(found, "seconds"), ratio=median(found, "seconds") / seconds, cpu=median(found, "cpu"),
                            peak_bytes=median(found, "peak"), faults=median(found, "faults"), pause_seconds=median(found, "pause"),
                            exact=None if not exact else exact == {true}))
            if found[0].get("parts"):
                out[-1]["parts"] = {what: statistics.median(r["parts"][what] for r in found) for what in found[0]["parts"]}
            if exact and exact != {true}:
                wrong.append("%s: %s unreachable, the interpreter says %d" % (name, sorted(exact), true))
        return out, wrong
    finally:
        heap.close()


def show(rows):
    print("%-12s %9s %8s %8s %9s %7s %9s  %s" % ("", "s", "x gc", "ns/obj", "MB", "B/obj", "pause ms", "exact"))
    for r in rows:
        peak = r.get("peak_bytes")
        print("%-12s %9.3f %8.2f %8.1f %9s %7s %9s  %s" % (
            r["measure"], r["seconds"], r["ratio"], r["seconds"] / r["tracked"] * 1e9, "-" if peak is None else "%.0f" % (peak / 1e6),
            "-" if peak is None else "%.1f" % (max(0, peak - FREE_BYTES) / r["tracked"]),
            "-" if r.get("pause_seconds") is None else "%.0f" % (r["pause_seconds"] * 1e3), {True: "yes", False: "NO", None: "-"}[r.get("exact")]), flush=True)
        for what, seconds in (r.get("parts") or {}).items():
            print("    then %-46s %8.1f ms" % (what, seconds * 1e3))


def kind(row):
    return [row.get(k) for k in ("machine", "version", "shape", "measure")] + [round(row["tracked"], -4)]


def compare_with_history(rows):
    """Appends the rows; only warns, because wall time is not the machine's alone."""
    old = {}
    if os.path.exists(HISTORY):
        with open(HISTORY) as f:
            for line in f:
                row = json.loads(line)
                old[json.dumps(kind(row))] = row
    with open(HISTORY, "a") as f:
        for row in rows:
            before = old.get(json.dumps(kind(row)))
            if before and row["ratio"] > before["ratio"] * WORSE:
                print("warning: %s %s %s: %.2f x gc.collect(), was %.2f at %s" % (row["version"], row["shape"], row["measure"], row["ratio"], before["ratio"], before["commit"]))
            f.write(json.dumps(row, sort_keys=True) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS)
    parser.add_argument("--shape", action="append")
    parser.add_argument("--size", action="append", type=int)
    parser.add_argument("--interpreter", action="append")
    parser.add_argument("--measure", action="append", choices=sorted(MEASURES))
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--json")
    parser.add_argument("--history", action="store_true")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    if options.small:
        options.size, options.measure, options.reps = [100000], ["leaks", "refcounts"], 1
    passed = failed = skipped = 0
    rows = []
    for wanted in options.interpreter or ["3.12"]:
        found = [i for i in interpreters.discover() if i.kind == "default" and (i.version == wanted or i.version.startswith(wanted + "."))][:1]
        if not found and options.small:
            found = [i for i in interpreters.discover() if i.kind == "default" and i.version >= "3.1"][:1]
        if not found:
            skipped += 1
            print("skipped: no CPython %s here" % wanted)
            continue
        for shape in options.shape or ["mixed"]:
            for size in options.size or [1000000]:
                print("\nCPython %s, %s, %d asked for" % (found[0].version, shape, size), flush=True)
                try:
                    got, wrong = measure_heap(found[0], shape, size, options.measure or ["leaks", "leaks1", "refcounts", "heap", "live"], options.reps)
                except process.CannotTest as e:
                    got, wrong = [], [str(e)]
                print("%d tracked, core of %.0f MB, load %.1f" % (got[0]["tracked"], got[0]["core_bytes"] / 1e6, got[0]["load"]) if got else "no figures")
                show(got)
                for w in wrong:
                    print("FAILED  " + w)
                rows += got
                failed += len(wrong)
                passed += len(got) - 1 if got else 0
    if options.json:
        with open(options.json, "w") as f:
            json.dump(rows, f, indent=1)
    if options.history:
        compare_with_history(rows)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
