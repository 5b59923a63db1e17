"""Runs inside GDB: starts an interpreter and stops it at chosen functions while it comes up, goes down, or has just forked, and dumps it at each.

    PYGC_PLAN=plan.json gdb -nx -batch -x gdb_lives.py

plan: {"folder": where the cores go, "command": [...], "stops": {function: [which of its calls]}, "child": whether to follow a fork, "collect": functions
at whose entry a full collection may run}
Writes folder/lives.json: [{"function", "call", "core", "tracked": addresses in the collector's lists, null where the build tells of none, false where they
are no rings, "weakrefs": objects with a weak reference that calls back, "collected": what a full collection, run in the process after the dump, says it
found, or null}, ...] and which functions this build has not. The lists are walked here, with the debug information of the interpreter.
"""
import json
import os
import struct

import gdb

with open(os.environ["PYGC_PLAN"]) as f:
    plan = json.load(f)
for setting in ("pagination off", "confirm off", "breakpoint pending on", "print thread-events off", "print inferior-events off", "unwindonsignal on",
                "disable-randomization on"):
    gdb.execute("set " + setting)
if plan["child"]:
    gdb.execute("set follow-fork-mode child")
HEADS = ["&_PyRuntime.interpreters.main->gc.generations[%d].head", "&interpreters_main()->gc.generations[%d].head", "&_PyRuntime.gc.generations[%d].head",
         "&generations[%d].head"]
PERMANENT = ["&_PyRuntime.interpreters.main->gc.permanent_generation.head", "&_PyRuntime.gc.permanent_generation.head"]


def address(expression):
    try:
        return int(gdb.parse_and_eval("(unsigned long)(%s)" % expression))
    except gdb.error:
        return 0


def walk(head, size):
    """Objects of the ring at `head`; False where it is no ring."""
    found, at, memory = [], head, gdb.selected_inferior()
    while len(found) < 10000000:
        try:
            at = struct.unpack("Q", memory.read_memory(at, 8).tobytes())[0] & ~3
        except gdb.MemoryError:
            return False
        if at == head or (found and at + size == found[0]):     # _PyGC_Fini() of 3.13 takes the head out
            return found
        if at == 0:
            return False
        found.append(at + size)
    return False


def tracked():
    size = address("sizeof(PyGC_Head)")
    template = next((h for h in HEADS if address(h % 0) > 4096), None)
    if not template or not size or any(f.name == "ob_tid" for f in gdb.lookup_type("PyObject").strip_typedefs().fields()):     # free-threaded: no lists
        return None
    rings = [address(template % g) for g in range(3)] + [a for a in [next((address(p) for p in PERMANENT if address(p) > 4096), 0)] if a]
    found = []
    for head in rings:
        ring = walk(head, size)
        if ring is False:
            return False
        found += ring
    return found


def called_back_for(objects):
    """What weak references with a callback, among `objects`, refer to."""
    types = {address("&" + name) for name in ("_PyWeakref_RefType", "_PyWeakref_ProxyType", "_PyWeakref_CallableProxyType")}
    places = [address("&((%s*)0)->%s" % place) for place in (("PyObject", "ob_type"), ("PyWeakReference", "wr_object"), ("PyWeakReference", "wr_callback"))]
    found, memory = [], gdb.selected_inferior()
    for a in objects:
        kind = struct.unpack("Q", memory.read_memory(a + places[0], 8).tobytes())[0]
        if kind not in types:
            continue
        referent, callback = (struct.unpack("Q", memory.read_memory(a + place, 8).tobytes())[0] for place in places[1:])
        if callback:
            found.append(referent)
    return found


def collect(breakpoints):
    on = [b for b in breakpoints if b.enabled]
    for b in on:
        b.enabled = False
    try:
        return int(gdb.parse_and_eval("((long(*)(void))PyGC_Collect)()"))
    except gdb.error:
        return None
    finally:
        for b in on:
            b.enabled = True


stops, lives, calls = [], [], {}
gdb.events.stop.connect(stops.append)
if plan.get("debug_dir"):
    gdb.execute("set debug-file-directory " + plan["debug_dir"])
gdb.execute("file " + plan["command"][0])
arguments = " ".join(plan["command"][1:])
if plan.get("loaded"):      # another ld.so starts the program: its symbols, at their fixed addresses, when it is there
    gdb.execute("set stop-on-solib-events 1")
    gdb.execute("run %s < /dev/null > /dev/null" % arguments, to_string=True)
    gdb.execute("set stop-on-solib-events 0")
    gdb.execute("add-symbol-file " + plan["loaded"], to_string=True)
    del stops[:]
breakpoints = [gdb.Breakpoint(name) for name in plan["stops"]]
names = {b.number: name for b, name in zip(breakpoints, plan["stops"])}
try:
    gdb.execute("continue" if plan.get("loaded") else "run %s < /dev/null > /dev/null" % arguments, to_string=True)
    while stops and isinstance(stops[-1], gdb.BreakpointEvent):
        for b in stops[-1].breakpoints:
            name = names[b.number]
            calls[name] = calls.get(name, 0) + 1
            if calls[name] not in plan["stops"][name]:
                continue
            path = os.path.join(plan["folder"], "%s.%d.core" % (name, calls[name]))
            found = tracked()
            gdb.execute("gcore " + path, to_string=True)
            lives.append({"function": name, "call": calls[name], "core": path, "tracked": found, "weakrefs": called_back_for(found or []),
                          "collected": collect(breakpoints) if name in plan["collect"] and found is not False else None})
            if calls[name] >= max(plan["stops"][name]):
                b.enabled = False
        del stops[:]
        gdb.execute("continue", to_string=True)
except gdb.error:
    pass
absent = [name for name in plan["stops"] if name not in calls]
with open(os.path.join(plan["folder"], "lives.json"), "w") as f:
    json.dump({"lives": lives, "absent": absent}, f)
if gdb.selected_inferior().pid:
    gdb.execute("kill")
