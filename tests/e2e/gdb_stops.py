"""Runs inside GDB, attached to a fixture that waits for a byte: stops it at chosen places and dumps it at each.

    PYGC_PLAN=plan.json gdb -nx -batch -p PID -x gdb_stops.py

plan: {"folder": where the cores go, "functions": [...], "hits": cores for each function, "steps": 0 or instructions to step}
With "steps": from the first stop of each function that many single steps at most, calls stepped over, and a core after each instruction that can have
written to memory outside the function's frame.
Writes folder/cores.json: [[function, number, path], ...] and which functions this build has not.
"""
import json
import os

import gdb

with open(os.environ["PYGC_PLAN"]) as f:
    plan = json.load(f)
for setting in ("pagination off", "confirm off", "breakpoint pending off", "print thread-events off"):
    gdb.execute("set " + setting)

if plan["debug_dir"]:
    gdb.execute("set debug-file-directory " + plan["debug_dir"])
if plan["symbols"]:             # run by another ld.so: GDB takes that for the program
    gdb.execute("add-symbol-file " + plan["symbols"])
cores, absent, function_of, hits = [], [], {}, {}
for name in plan["functions"]:
    try:
        # At the first instruction: what a prologue is, GDB would have to guess in builds without line tables.
        function_of[gdb.Breakpoint(("*" if plan.get("steps") else "") + name).number] = name
    except gdb.error:
        absent.append(name)

stops = []
gdb.events.stop.connect(stops.append)
gdb.events.exited.connect(lambda event: stops.append(None))


def dump(function):
    hits[function] = hits.get(function, 0) + 1
    path = os.path.join(plan["folder"], "%s.%d.core" % (function, hits[function]))
    gdb.execute("gcore " + path, to_string=True)
    cores.append([function, hits[function], path])


def writes(instruction):
    """Whether an instruction (AT&T syntax) may have changed what a reader of the heap sees: a call, or a store that is not to the frame."""
    operation, _, operands = instruction.partition(" ")
    if operation.startswith(("call", "rep", "lock", "xchg", "stos", "movs")):
        return True
    if operation.startswith(("cmp", "test", "nop", "prefetch", "j", "push", "endbr")):
        return False
    target = operands.strip()
    return target.endswith(")") and not target.endswith(("(%rsp)", "(%rbp)", "(%rip)")) and not operation.startswith(("lea", "mul", "imul", "div", "idiv"))


def step(function):
    frame = gdb.selected_frame()
    stack = int(frame.read_register("rsp"))     # at the first instruction: it points to the return address
    dump(function)
    for _ in range(plan["steps"]):
        pc = frame.pc()
        instruction = " ".join(frame.architecture().disassemble(pc)[0]["asm"].split())
        gdb.execute("nexti", to_string=True)
        if stops and stops[-1] is None:
            return
        frame = gdb.selected_frame()
        if writes(instruction):
            dump(function)
        if int(frame.read_register("rsp")) > stack or hits[function] >= plan["hits"]:     # returned, or a long loop
            return


pid = gdb.selected_inferior().pid
wake = os.open("/proc/%d/fd/0" % pid, os.O_WRONLY)
os.write(wake, b"x")
os.close(wake)
while function_of and len(cores) < plan.get("most", 400):
    del stops[:]
    try:
        gdb.execute("continue", to_string=True)
    except gdb.error:
        break
    event = stops[-1] if stops else None
    if not isinstance(event, gdb.BreakpointEvent):
        break
    for breakpoint in event.breakpoints:
        name = function_of[breakpoint.number]
        if plan.get("steps"):
            breakpoint.enabled = False
            step(name)
            continue
        dump(name)
        if hits[name] >= plan["hits"]:
            breakpoint.enabled = False
with open(os.path.join(plan["folder"], "cores.json"), "w") as f:
    json.dump({"cores": cores, "absent": absent}, f)
gdb.execute("kill")
