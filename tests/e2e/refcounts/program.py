"""Objects with wrong counts among many with right ones: too high, too low, and held by nobody at all.

usage: program.py TRUTH [--healthy]     runs until it is killed; the collector is off and never runs. With --healthy nothing is made wrong.
TRUTH: {"planted": {address: [kind, by how much]}, "shared": addresses of objects that have no block of their own, "surely": of those that no word may explain, "trace_refs": bool, "blocks": what sys._debugmallocstats() counts} as JSON.
"""
from __future__ import print_function

import binascii
import datetime
import decimal
import gc
import json
import os
import sys
import tempfile
import weakref

from counts import FREE_THREADED, change

gc.disable()


class Node(object):
    def __init__(self, value):
        self.value = value
        self.text = "text of %r" % (value,)


class Slots(object):
    __slots__ = ("a", "b")


class Text(str):
    pass


def make(i):
    """One object of each kind, not shared with anybody."""
    def function(x=[i]):
        return x

    slots = Slots()
    slots.a = [i]
    return [[i], {"k%d" % i: i}, {i, i + 1}, (i, [i]), "str %d" % i, bytearray(b"x" * 40) + bytearray(b"%d" % i if sys.version_info > (3, 5) else b"1"), i + 10 ** 20,
            i + 0.25, Node(i), slots, Text("t%d" % i), function, frozenset([i, "f"]), complex(i, 1), u"\u20ac%d" % i,
            datetime.datetime(i % 9999 + 1, 2, 3, 4), datetime.date(i % 9999 + 1, 2, 3), datetime.time(i % 24, 1), datetime.timedelta(i), decimal.Decimal(i), decimal.Context(prec=i % 50 + 1)]


def blocks_in_use():
    """Blocks in use by sys._debugmallocstats(), or None. Mimalloc has another way to say it."""
    if FREE_THREADED:
        return sys.getallocatedblocks()
    if not hasattr(sys, "_debugmallocstats"):
        return None
    with tempfile.TemporaryFile() as f:
        saved = os.dup(2)
        os.dup2(f.fileno(), 2)
        sys._debugmallocstats()
        os.dup2(saved, 2)
        os.close(saved)
        f.seek(0)
        lines = f.read().decode("ascii", "replace").split("\n")
    total = 0
    for line in lines:
        words = line.split()
        if len(words) == 5 and all(w.isdigit() for w in words):
            total += int(words[3])
    return total


def plant(high, low):
    """In a function of its own, whose frame is gone when the process is looked at: stale places of a running frame's stack hold objects for all that anybody
    can tell."""
    planted = {}
    lost = [make(n + 9000) for n in range(4)]
    if "--healthy" in sys.argv:
        return planted
    for i, objects in enumerate(high):
        for o in objects:
            planted[hex(id(o))] = ["surplus", i % 2 + 1]
            change(id(o), i % 2 + 1)
    for objects in low:
        for o in objects:
            planted[hex(id(o))] = ["deficit", 1]
            change(id(o), -1)
    for objects in lost:
        for o in objects:
            if type(o) in SHARED:
                shared.append(hex(id(o)).rstrip("L"))
            planted[hex(id(o))] = ["lost", 1]
            change(id(o), 1)
    return planted


# CPython: PyFloatBlock, PyIntBlock, Objects/floatobject.c, intobject.c [2.7].
SHARED = (int, float) if sys.version_info < (3, 0) else ()
shared = []
keep, twice = [], []
for n in range(40):
    keep.append(make(n + 1000))
if sys.version_info < (3, 0):  # each keeps the encoded form that was asked for
    encoded = [u"encoded %d" % n for n in range(40)]
    for n in encoded:
        binascii.b2a_hex(n)
high = [make(n + 5000) for n in range(4)]
low = [make(n + 7000) for n in range(4)]
twice.extend(list(objects) for objects in low)
classes = []


def names_and_weak_references():
    """Names of classes, into which tp_name leads too, and weak references, which the lists of static types lead to."""
    classes.extend(type("Named %d" % n, (object,), {}) for n in range(4))
    return [t.__name__ for t in classes], [weakref.ref(t) for t in (complex, memoryview, slice, decimal.Decimal)]


def addresses(objects):
    return [hex(id(o)).rstrip("L") for o in objects]


high.extend(names_and_weak_references())
planted = plant(high, low)
truth = {"planted": {k.rstrip("L"): v for k, v in planted.items()}}
planted = None
truth["shared"] = shared
truth["surely"] = addresses(high[-1] + high[-2])
truth["blocks"] = blocks_in_use()
with open(sys.argv[1], "w") as f:
    json.dump(truth, f)
f = truth = None
print("READY %d" % os.getpid())
sys.stdout.flush()
while True:
    if not os.read(0, 1):
        os._exit(0)
