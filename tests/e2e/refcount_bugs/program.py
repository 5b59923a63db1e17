"""Calls each function of bugs.c once, on objects of its own.

usage: program.py TRUTH FOLDER    FOLDER holds the module `bugs`. Runs until it is killed; the collector is off.
TRUTH: {"thread_local": addresses of what threads keep, "in_structure": the address of what a structure of C keeps, "wrong": {address: [function, kinds that say so]}, "right": [addresses], "hidden": {type of the box: addresses of boxes in cycles}, "heap_types": whether there
are heap types of C code} as JSON.
"""
from __future__ import print_function

import array
import gc
import json
import os
import sys
import threading
import time
import zlib

gc.disable()
sys.path.insert(0, sys.argv[2])
import bugs  # noqa: E402


class Victim(object):
    def __init__(self, name):
        self.name = name


victims = {}
ALIKE = 8  # lost by one cause
LARGE = 5 << 20
LENT = 5  # to boxes that visit what they do not own


def new(name):
    """Held twice, so that a count that is one too low frees nothing."""
    v = Victim(name)
    victims[name] = [v, [v]]
    return v


def plant():
    wrong = {}

    def note(o, name, *kinds):
        wrong[hex(id(o)).rstrip("L")] = [name, list(kinds)]

    v = new("missing_decref")
    victims["result"] = bugs.missing_decref(v)
    note(v, "missing_decref", "surplus")
    v = new("missing_decref_on_error")
    try:
        bugs.missing_decref_on_error(v)
    except ValueError:
        pass
    note(v, "missing_decref_on_error", "surplus")
    v = new("forgotten_object")
    wrong[hex(bugs.forgotten_object(v)).rstrip("L")] = ["forgotten_object", ["lost"]]
    v = new("double_decref")
    bugs.double_decref(v)
    note(v, "double_decref", "deficit")
    v = new("stolen_reference")
    victims["stolen"] = bugs.stolen_reference(v)
    note(v, "stolen_reference", "deficit")
    v = new("borrowed_released")
    bugs.borrowed_released([v])
    note(v, "borrowed_released", "deficit")
    for i in range(LENT):
        v = new("lent %d" % i)
        box = bugs.GreedyBox()
        box.set(v)
        victims["lent to %d" % i] = box
        note(v, "GreedyBox", "deficit")
    v = new("visited twice")
    box = victims["visits twice"] = bugs.TwiceBox()
    box.set(v)
    note(v, "TwiceBox", "deficit")
    box = None
    # Nothing but its head says what it is, and no other object is of its type. (2.7 has no PyType_Ready() for zlib.Compress: nothing leads to that type.)
    v = zlib.compressobj() if sys.version_info >= (3,) else array.array("i", [1])
    bugs.missing_decref(v)
    note(v, "only one of its type", "lost")
    for i in range(ALIKE):
        v = bytearray(100)
        bugs.missing_decref(v)
        note(v, "one of many", "lost")
    v = bytearray(LARGE)
    bugs.missing_decref(v)
    note(v, "large", "lost")
    v = new("state_replaced")
    bugs.state_replaced(v)
    note(v, "state_replaced", "surplus")
    bugs.state_replaced(victims["held by the state"])
    v = new("forgotten_structure")
    bugs.forgotten_structure(v)
    note(v, "forgotten_structure", "surplus")
    v = Victim("forgotten_structure alone")
    bugs.forgotten_structure(v)
    note(v, "forgotten_structure", "lost")
    for i in range(20):  # a stale word may lead to one or the other
        setattr(v, "hangs_on_it_%d" % i, ["%d hangs on it" % i])
    v = None
    return wrong


def hide():
    """Cycles that the collector cannot see: box -> (not visited) list -> box; a box in itself, and two in each other, of a type that the collector is not told of."""
    hidden = {}
    for kind in (bugs.NoGcBox, bugs.BlindBox, bugs.NativeBox):
        for i in range(3):
            box = kind()
            box.set([box, "hidden %d" % i])
            hidden.setdefault(kind.__name__, []).append(hex(id(box)).rstrip("L"))
    box, other, more = bugs.NoGcBox(), bugs.NoGcBox(), bugs.NoGcBox()
    box.set(box)
    other.set(more)
    more.set(other)
    hidden["NoGcBox"] += [hex(a).rstrip("L") for a in (id(box), min(id(other), id(more)))]
    box = other = more = None
    return hidden


victims["held by the state"] = Victim("held by the state")
wrong = plant()
hidden = hide()
right = [Victim("kept by a static"), Victim("in a box"), Victim("in a blind box"), Victim("in a native box"), Victim("kept by a structure"), Victim("lent to a static"), victims["held by the state"]]
bugs.keep(right[0])
bugs.kept_structure(right[4])
bugs.borrowed_kept(right[5])
bugs.immortal_released()
clearless = [bugs.ClearlessBox() for _ in range(3)]
clearless[0].set((clearless[1],))
clearless[1].set(clearless[0])  # a cycle of a tuple and two of these; the third is in none
boxes = [bugs.NoGcBox(), bugs.BlindBox(), bugs.NativeBox()]
boxes[2].set(right[3])
if hasattr(bugs, "SpecBox"):
    right += [Victim("in a box of PyType_FromSpec"), Victim("in a native box of PyType_FromSpec")]
    for kind, content in zip((bugs.SpecBox, bugs.NativeSpecBox), right[-2:]):
        boxes.append(kind())
        boxes[-1].set(content)
    content = None

    class PythonBox(bugs.SpecBox):  # made by a class statement: of no module
        __slots__ = ()

    boxes.append(PythonBox())
if hasattr(bugs, "ForgetfulBox"):
    boxes += [bugs.ForgetfulBox(), bugs.RightBox()]
boxes[0].set(right[1])
boxes[1].set(right[2])
in_threads = [Victim("kept by the main thread"), Victim("kept by a thread")]
bugs.keep_in_thread(in_threads[0])
done = threading.Event()


def keep_and_wait():
    bugs.keep_in_thread(in_threads[1])
    done.set()
    time.sleep(1e6)


thread = threading.Thread(target=keep_and_wait)
thread.daemon = True
thread.start()
done.wait()
right += in_threads
with open(sys.argv[1], "w") as f:
    json.dump({"thread_local": [hex(id(o)).rstrip("L") for o in in_threads], "in_structure": hex(id(right[4])).rstrip("L"), "wrong": wrong, "right": [hex(id(o)).rstrip("L") for o in right], "hidden": hidden, "spec_types": hasattr(bugs, "SpecBox"), "heap_types": hasattr(bugs, "ForgetfulBox")}, f)
wrong = hidden = f = None
print("READY %d" % os.getpid())
sys.stdout.flush()
while True:
    if not os.read(0, 1):
        os._exit(0)
