#!/usr/bin/env python3
"""Several debuggers and targets in one LLDB, and Ctrl-C: none of them disturbs another, and the prompt lives on.

usage: lldb_together.py

Two interpreters' cores, each in a debugger of its own that runs in a thread of its own, ask at the same time; both again as two targets of one
debugger; every `result` must be byte for byte the standalone program's. Then a large heap is asked about and interrupted.
"""
import glob
import json
import os
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import lldb_host  # noqa: E402
import process  # noqa: E402

ROUNDS = 4
OBJECTS = 1000000

INSIDE = r'''
import json, os, threading, time
import lldb
job = json.load(open(os.environ["PYGC_TEST_JOB"]))
said = {"results": [], "faults": []}

def run(debugger, line):
    result = lldb.SBCommandReturnObject()
    debugger.GetCommandInterpreter().HandleCommand(line, result)
    return result

def fresh():
    debugger = lldb.SBDebugger.Create(False)
    debugger.SetAsync(False)
    loaded = run(debugger, "plugin load " + job["plugin"])
    if not loaded.Succeeded():
        said["faults"].append("plugin load: %s" % loaded.GetError())
    return debugger

def ask(debugger, core, out):
    ran = run(debugger, "pygc leaks --format json -o " + out)
    if not ran.Succeeded():
        said["faults"].append("%s: %s" % (out, ran.GetError()))
    said["results"].append((core, out))

def alone(number, debugger, core):
    for i in range(job["rounds"]):
        ask(debugger, core, "%s/alone-%d-%d.json" % (job["folder"], number, i))

# LLDB 22 deadlocks by itself when two threads load modules at the same time: the cores are opened one after the other.
debuggers = [fresh() for core in job["cores"]]
for debugger, core in zip(debuggers, job["cores"]):
    run(debugger, "target create --core " + core)
threads = [threading.Thread(target=alone, args=(n, debuggers[n], c)) for n, c in enumerate(job["cores"])]
[t.start() for t in threads]
[t.join() for t in threads]
[lldb.SBDebugger.Destroy(d) for d in debuggers]

debugger = fresh()
for core in job["cores"]:
    run(debugger, "target create --core " + core)
for i in range(job["rounds"]):
    for n, core in enumerate(job["cores"]):
        run(debugger, "target select %d" % n)
        ask(debugger, core, "%s/both-%d-%d.json" % (job["folder"], n, i))
run(debugger, "target select 0")
run(debugger, "target delete 0")
ask(debugger, job["cores"][1], "%s/left.json" % job["folder"])
lldb.SBDebugger.Destroy(debugger)

json.dump(said, open(job["said"], "w"))
'''


def together(cores, expected, folder):
    job = {"plugin": lldb_host.plugin(), "cores": cores, "rounds": ROUNDS, "folder": folder, "said": os.path.join(folder, "said.json")}
    paths = {name: os.path.join(folder, name) for name in ("job.json", "inside.py")}
    with open(paths["job.json"], "w") as f:
        json.dump(job, f)
    with open(paths["inside.py"], "w") as f:
        f.write(INSIDE)
    os.environ["PYGC_TEST_JOB"] = paths["job.json"]
    # LLDB 14 does not find its own Python package, and one that finds another python3 first in PATH not the six that it needs.
    beside = glob.glob(os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(lldb_host.versions()[0]))), "lib/python3*/*-packages"))
    os.environ["PYTHONPATH"] = os.pathsep.join(beside + ["/usr/lib/python3/dist-packages"] + [p for p in [os.environ.get("PYTHONPATH")] if p])
    ran = process.run([lldb_host.versions()[0], "--no-lldbinit", "--batch", "-o", "command script import " + paths["inside.py"]], 300)
    if not os.path.exists(job["said"]):
        return ["LLDB did not come to the end: exit %s: %s" % (ran.code, ran.tail())]
    with open(job["said"]) as f:
        said = json.load(f)
    wrong = said["faults"]
    if len(said["results"]) != 2 * len(cores) * ROUNDS + 1:
        wrong.append("%d reports" % len(said["results"]))
    for core, out in said["results"]:
        if not os.path.exists(out):
            wrong.append("no " + os.path.basename(out))
            continue
        with open(out) as f:
            if json.load(f)["result"] != expected[core]:
                wrong.append("%s is not the result of its core" % os.path.basename(out))
    return wrong


def standalone(core):
    ran = process.pygc("-c", core, "leaks", "--format", "json")
    if ran.code not in (0, 1):
        raise process.CannotTest("pygc leaks: exit %s: %s" % (ran.code, ran.tail()))
    return json.loads(ran.out)["result"]


def interrupted(core):
    """SIGINT to LLDB's terminal while a command runs: it ends soon, and the next command works."""
    script = os.path.join(os.path.dirname(core), "interrupt.py")
    with open(script, "w") as f:
        f.write(r"""
import glob, os, pty, re, select, signal, sys, time
def working():
    # The plugin reads cores in a child. Before that, Ctrl-C would only clear the line that LLDB has not taken yet.
    for children in glob.glob("/proc/%d/task/*/children" % pid):
        try:
            if open(children).read().strip(): return True
        except OSError: pass
    return False
def until(pattern, seconds):
    global text
    end = time.time() + seconds
    while time.time() < end:
        if re.search(pattern, text): return True
        if select.select([fd], [], [], 0.05)[0]:
            try: text += os.read(fd, 65536).decode(errors="replace")
            except OSError: return False
    return bool(re.search(pattern, text))
lldb, plugin, core, when = sys.argv[1:]
pid, fd = pty.fork()
if pid == 0: os.execvp(lldb, [lldb, "--no-lldbinit", "--no-use-colors", "-o", "plugin load " + plugin, "-o", "target create --core " + core])
text = ""
if not until("Core file .* was loaded", 60): sys.exit("the core was not loaded: " + text[-300:])
time.sleep(0.3); text = ""
os.write(fd, b"pygc leaks\n")
end = time.time() + 60
while not working() and time.time() < end: time.sleep(0.002)
if not working(): sys.exit("the command did not start: " + text[-300:])
time.sleep(float(when))
asked = time.time()
os.write(fd, b"\x03")
ended = until(r"(?i)interrupt|was stopped|stopped while|stopped before", 10)
took = time.time() - asked
before, text = text, ""
os.write(fd, b"pygc status\n")
alive = until(r"objects tracked|tracked objects|CPython \d", 60)
try:
    os.write(fd, b"quit\n"); time.sleep(0.2); os.kill(pid, signal.SIGKILL)
except OSError: pass
print("ended=%s took=%.2f alive=%s" % (ended, took, alive))
if not ended or not alive: print("said before: %r, then: %r" % (before[-300:], text[-300:]))
""")
    wrong = []
    for when in ("0", "0.05", "0.2"):
        ran = process.run([sys.executable, script, lldb_host.versions()[0], lldb_host.plugin(), core, when], 200)
        if "ended=True" not in ran.out or "alive=True" not in ran.out or float(ran.out.split("took=")[1].split()[0]) > 2:
            wrong.append("Ctrl-C after %s s: %s" % (when, ran.tail()))
    return wrong


def main():
    if len(sys.argv) > 1:
        print(__doc__)
        return 0 if sys.argv[1] in ("-h", "--help") else 2
    if not lldb_host.versions():
        print("skipped: no lldb, or no plugin built\n0 passed, 0 failed, 1 skipped")
        return 0
    found = [i for i in interpreters.discover() if i.kind == "default"]
    chosen = [next(i for i in found if i.version.startswith(v)) for v in ("3.12", "2.7")]
    failed, programs = 0, []
    folder = tempfile.mkdtemp(prefix="pygc-lldb-")
    try:
        programs = [process.Program(i.path, "combined") for i in chosen] + [process.Program(chosen[0].path, "ring", [str(OBJECTS)])]
        cores = [p.gcore() for p in programs]
        rows = (("two debuggers at once, two targets of one", lambda: together(cores[:2], {c: standalone(c) for c in cores[:2]}, folder)),
                ("Ctrl-C", lambda: interrupted(cores[2])))
        for name, check in rows:
            wrong = check()
            failed += bool(wrong)
            for w in wrong[:6]:
                print("FAILED %s: %s" % (name, str(w)[:500]))
        print("%d passed, %d failed, 0 skipped" % (len(rows) - failed, failed))
    finally:
        for p in programs:
            p.close()
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
