#!/usr/bin/env python3
"""What debuggers show beside a variable of type PyObject *: type and value, as the interpreter's repr() has them. In GDB, in GDB through gdbserver, in LLDB;
and pygc's commands from an editor's debug console (LLDB's DAP adapter).

usage: variables.py [--interpreter TEXT] [-v]      needs an interpreter with debug information. Last line: N passed, N failed, N skipped.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import process  # noqa: E402

LLDB = os.environ.get("PYGC_LLDB") or shutil.which("lldb")    # another LLDB, with a plugin that is built for it
LIB = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(process.PYGC))), "lib")
# divmod() calls PyNumber_Divmod(v, w), which nothing else here does.
PROGRAM = """
import sys
class Thing(object):
    pass
values = [{'a': [1, 2, (3.5, None)]}, 'text \\x1b[2J', 12345678901234567890, [True, b'bytes'], frozenset([7]), int, Thing()]
with open(sys.argv[1], 'w') as f:
    for v in values:
        f.write('%s\\t%s\\n' % (type(v).__module__ + '.' + type(v).__name__ if type(v) is Thing else type(v).__name__, ascii(repr(v))))
for v in values:
    try:
        divmod(v, None)
    except TypeError:
        pass
"""
COUNT = 7


class Wrong(Exception):
    pass


def check(good, what):
    if not good:
        raise Wrong(what)


def with_debug_information(names):
    """The first interpreter whose PyNumber_Divmod has arguments for a debugger."""
    for i in sorted(interpreters.discover(), key=lambda i: not i.version.startswith("3.12")):
        if i.kind != "default" or i.version.startswith("2.") or (names and not any(i.version.startswith(n) for n in names)):
            continue
        ran = process.run(["gdb", "-nx", "--batch", "-ex", "set breakpoint pending on", "-ex", "break PyNumber_Divmod", "-ex", "run -c 'divmod(1, 2)'", "-ex", "info args", i.path], 120)
        if re.search(r"^v = \(?", ran.out, re.M):
            return i.path
    raise process.CannotTest("no interpreter with debug information here")


def expected(folder):
    import ast
    with open(os.path.join(folder, "truth")) as f:
        rows = [line.rstrip("\n").split("\t") for line in f]
    # Control bytes are shown escaped: repr() escapes them itself.
    return [(name, ast.literal_eval(text)) for name, text in rows]


def compare(shown, folder):
    truth = expected(folder)
    check(len(truth) == COUNT, "the program wrote %d values" % len(truth))
    check(len(shown) == COUNT, "%d values shown of %d: %s" % (len(shown), COUNT, shown))
    for text, (name, value) in zip(shown, truth):
        check(text == "%s %s" % (name, value), "shown: %s; repr: %s %s" % (text, name, value))


def write_program(folder):
    path = os.path.join(folder, "program.py")
    with open(path, "w") as f:
        f.write(PROGRAM)
    return path


def in_gdb(folder, interpreter, remote=False):
    program = write_program(folder)
    truth = os.path.join(folder, "truth")
    if remote and not shutil.which("gdbserver"):
        raise process.CannotTest("gdbserver is not installed")
    start = "target remote | gdbserver --once - %s %s %s 2>%s" % (interpreter, program, truth, os.devnull) if remote else "run %s %s >%s" % (program, truth, os.devnull)
    lines = ["set confirm off", "set pagination off", "set breakpoint pending on", "set startup-with-shell on", "set auto-load off", "source " + os.path.join(LIB, "pygc_gdb.py")]
    if remote:
        lines += [start, "break PyNumber_Divmod", "continue"]
    else:
        lines += ["break PyNumber_Divmod", start]
    lines += ["pygc leaks", "print v"] if remote else ["print v", "continue"] * COUNT
    script = os.path.join(folder, "commands.gdb")
    with open(script, "w") as f:
        f.write("\n".join(lines) + "\n")
    ran = process.run(["gdb", "-nx", "--batch", "-x", script, interpreter], 240)
    if remote:      # all of the process through a slow connection for each variable: there GDB's own way stays
        check("objects tracked" in ran.out and re.search(r"^\$1 = \(PyObject \*\) 0x[0-9a-f]+$", ran.out, re.M), "pygc leaks through gdbserver: " + (ran.out + ran.err)[-400:])
        return
    shown = re.findall(r"^\$\d+ = 0x[0-9a-f]+ (.*)$", ran.out, re.M)
    try:
        compare(shown, folder)
    except (OSError, Wrong) as e:
        raise Wrong("%s: %s" % (e, (ran.out + ran.err)[-300:]))


def in_lldb(folder, interpreter):
    if not LLDB or not os.path.exists(os.path.join(LIB, "pygc_lldb.so")):
        raise process.CannotTest("no lldb, or no plugin built")
    program = write_program(folder)
    script = os.path.join(folder, "commands.lldb")
    with open(script, "w") as f:
        f.write("\n".join(["plugin load " + os.path.join(LIB, "pygc_lldb.so"), "breakpoint set -n PyNumber_Divmod", "process launch -o %s -- %s %s" % (os.devnull, program, os.path.join(folder, "truth"))] +
                          ["frame variable v", "continue"] * COUNT) + "\n")
    ran = process.run([LLDB, "-x", "--batch", "-s", script, interpreter], 240)
    shown = re.findall(r"^\(PyObject \*\) v = 0x[0-9a-f]+ (.*)$", ran.out, re.M)
    try:
        compare(shown, folder)
    except (OSError, Wrong) as e:
        raise Wrong("%s: %s" % (e, (ran.out + ran.err)[-300:]))


def expressions(folder, interpreter, host):
    """A variable, a register, an expression where a command takes an address; what would call or write is refused, and nothing runs in the process."""
    program, truth = write_program(folder), os.path.join(folder, "truth")
    asked = ["value v", "value $rdi", "show v --limit 2", "referents v", "referrers $rdi --limit 1", "path $rdi", "value w", "value &v->ob_type->ob_base" if host == "GDB" else "value v->ob_type",
             "value 'getpid()'", "value 'v=0'", "value nothing_of_this_name", "value v"]
    script = os.path.join(folder, "commands")
    lines = ["pygc " + a for a in asked]
    if host == "GDB":
        command = ["gdb", "-nx", "--batch", "-x", script, interpreter]
        lines = ["set confirm off", "set pagination off", "set breakpoint pending on", "set startup-with-shell on", "set auto-load off", "source " + os.path.join(LIB, "pygc_gdb.py"), "break PyNumber_Divmod",
                 "run %s %s >%s" % (program, truth, os.devnull)] + ["python\ntry:\n  gdb.execute(%r)\nexcept gdb.error as e:\n  print(e)\nend" % line for line in lines]
    else:
        if not LLDB or not os.path.exists(os.path.join(LIB, "pygc_lldb.so")):
            raise process.CannotTest("no lldb, or no plugin built")
        command = [LLDB, "-x", "--batch", "-o", "command source -e false " + script, interpreter]     # which goes on behind a command that is refused
        lines = ["plugin load " + os.path.join(LIB, "pygc_lldb.so"), "breakpoint set -n PyNumber_Divmod",
                 "process launch -o %s -- %s %s" % (os.devnull, program, truth)] + lines
    with open(script, "w") as f:
        f.write("\n".join(lines) + "\n")
    ran = process.run(command, 240)
    said = ran.out + ran.err
    name, value = expected(folder)[0]
    line = "%s %s" % (name, value)
    check(len(re.findall("^" + re.escape(line) + "$", said, re.M)) == 3, "value v, value $rdi, value v again: %s" % said[-1500:])
    check(said.count(" objects tracked") == 4 and "global 'values' of module __main__" in said and "[0] of list at" in said and re.search("^dict at 0x", said, re.M), "show, referents, referrers, path: %s" % said[-1500:])
    check(re.search(r"^NoneType None$", said, re.M) and re.search(r"^type <class 'dict'>$", said, re.M), "value w, value of a member: %s" % said[-800:])
    check("'getpid()'" in said and "'v=0'" in said and "nothing_of_this_name" in said, "what is no expression is not refused: %s" % said[-800:])


class Adapter:
    """LLDB's debug adapter, spoken to as an editor does: https://microsoft.github.io/debug-adapter-protocol"""

    def __init__(self, program, folder):
        # Python's LLDB module is not needed, and may be missing.
        self.child = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder)
        self.number, self.events = 0, []

    def message(self):
        size = 0
        while True:
            line = self.child.stdout.readline().strip()
            if not line:
                break
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        check(size > 0, "the adapter ended")
        return json.loads(self.child.stdout.read(size))

    def send(self, command, **arguments):
        self.number += 1
        text = json.dumps({"seq": self.number, "type": "request", "command": command, "arguments": arguments}).encode()
        self.child.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(text), text))
        self.child.stdin.flush()
        return self.number

    def answer(self, number):
        while True:
            m = self.message()
            if m["type"] == "response" and m["request_seq"] == number:
                return m
            self.events.append(m)

    def event(self, name):
        for m in self.events:
            if m.get("event") == name:
                return m
        while True:
            m = self.message()
            self.events.append(m)
            if m.get("event") == name:
                return m

    def close(self):
        self.child.kill()
        self.child.wait()
        self.child.stdin.close()
        self.child.stdout.close()


def in_an_editor(folder, _):
    beside = os.environ.get("PYGC_LLDB") and os.path.join(os.path.dirname(os.environ["PYGC_LLDB"]), "lldb-dap")
    names = [beside] if beside else ["lldb-dap", "lldb-vscode", "lldb-dap-14", "lldb-vscode-14"]
    program = next((p for p in map(shutil.which, names) if p), None)
    if not program or not os.path.exists(os.path.join(LIB, "pygc_lldb.so")):
        raise process.CannotTest("no lldb-dap, or no plugin built")
    import signal
    fixture = process.Program(sys.executable, "node_tree")
    adapter = Adapter(program, folder)
    signal.signal(signal.SIGALRM, lambda *_: adapter.child.kill())
    signal.alarm(180)
    try:
        adapter.answer(adapter.send("initialize", adapterID="pygc-test", linesStartAt1=True, columnsStartAt1=True, pathFormat="path"))
        attach = adapter.send("attach", pid=fixture.pid, stopOnEntry=True, initCommands=["plugin load " + os.path.join(LIB, "pygc_lldb.so")])
        adapter.event("initialized")
        adapter.answer(adapter.send("configurationDone"))
        time.sleep(0.2)
        check(attach, "attach")
        said = adapter.answer(adapter.send("evaluate", expression="`pygc leaks", context="repl"))
        text = said.get("body", {}).get("result", "")
        check(said["success"] and "node_tree.Node" in text.replace("__main__", "node_tree") and "wait" in text, "pygc leaks in the debug console: %s" % json.dumps(said)[:400])
        said = adapter.answer(adapter.send("evaluate", expression="`pygc triage --limit 1", context="repl"))
        check("crash      none" in said["body"]["result"], "pygc triage: %s" % said["body"]["result"][:300])
        adapter.send("disconnect", terminateDebuggee=False)
    finally:
        signal.alarm(0)
        adapter.close()
        fixture.close()


def main():
    arguments, names, verbose = sys.argv[1:], [], False
    while arguments:
        if arguments[0] == "--interpreter" and len(arguments) > 1:
            names.append(arguments[1])
            arguments = arguments[2:]
        elif arguments[0] == "-v":
            verbose, arguments = True, arguments[1:]
        else:
            print(__doc__)
            return 0 if arguments[0] in ("-h", "--help") else 2
    counts = {"passed": 0, "FAILED": 0, "skipped": 0}
    folder = tempfile.mkdtemp(prefix="pygc-variables-")
    try:
        interpreter = with_debug_information(names)
        rows = (("GDB", in_gdb, ()), ("GDB through gdbserver", in_gdb, (True,)), ("LLDB", in_lldb, ()), ("expressions in GDB", expressions, ("GDB",)), ("expressions in LLDB", expressions, ("LLDB",)), ("an editor's debug console", in_an_editor, ()))
        for name, function, more in rows:
            work = tempfile.mkdtemp(dir=folder)
            try:
                function(work, interpreter, *more)
                state, why = "passed", ""
            except process.CannotTest as e:
                state, why = "skipped", str(e)
            except (Wrong, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as e:
                state, why = "FAILED", "%s: %s" % (type(e).__name__, str(e)[:800])
            counts[state] += 1
            if verbose or state != "passed":
                print("%s  %s%s" % (state, name, ": " + why if why else ""))
    except process.CannotTest as e:
        counts["skipped"] += 6
        print("skipped  %s" % e)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("%d passed, %d failed, %d skipped" % (counts["passed"], counts["FAILED"], counts["skipped"]))
    return 1 if counts["FAILED"] else 0


if __name__ == "__main__":
    sys.exit(main())
