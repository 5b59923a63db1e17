"""Objects that were freed although something still refers to them: one reference was given up too many.

usage: dangling_program.py TRUTH      runs until it is killed; touches none of the holders any more, the collector is off and never runs.
TRUTH: {"freed": {address: address of what still refers to it}} as JSON.
"""
from __future__ import print_function

import ctypes
import gc
import json
import os
import sys

gc.disable()


class Node(object):
    pass


class Slots(object):
    __slots__ = ("a",)


class WithDict(object):
    pass


def victims(i):
    """Fresh objects, each held by nobody else: containers and leaves, small and large (the text has a mapping of its own: what malloc has back it gives to the
    next who asks, with an object's first words as they were). No tuple of two: os.read() below takes one."""
    node = Node()
    node.name = "node %d" % i
    return [[i, "a"], {"k": [i]}, {i, "x"}, (i, [i], "of three"), node, "text %d" % i, u"\u20ac %d" % i, b"bytes %d" % i, i + 10 ** 30, i + 0.5, frozenset([i]), [0] * 400 + [i],
            "long text " * 20000 + str(i), bytearray(b"x" * 900), lambda: i]


def hold(i, kind, victim):
    """(holder, address of the victim); the holder has the only reference."""
    if kind == 0:
        holder = ["first", victim, "last"]
    elif kind == 1:
        holder = {"key": victim, "other": i}
    elif kind == 2:
        holder = (victim,)
    elif kind == 3:
        holder = Slots()
        holder.a = victim
    else:
        holder = WithDict()
        holder.attribute = victim
        holder = holder.__dict__
    return holder, id(victim)


def make():
    made = []
    for i in range(20):
        objects = victims(i + 1000)
        while objects:
            made.append(hold(i, (i + len(objects)) % 5, objects.pop()))
    return made


made = make()
keep = [holder for holder, _ in made]
text = json.dumps({"freed": {hex(address).rstrip("L"): hex(id(holder)).rstrip("L") for holder, address in made}})
with open(sys.argv[1], "w") as f:
    f.write(text)
addresses = (ctypes.c_void_p * len(made))(*[address for _, address in made])
del f, text, made
give_up = ctypes.pythonapi.Py_DecRef
give_up.argtypes = [ctypes.c_void_p]
give_up.restype = None
os.write(1, b"")
for n in range(len(addresses)):
    give_up(addresses[n])
os.write(1, ("READY %d\n" % os.getpid()).encode())
while True:
    if not os.read(0, 200):  # into a block that none of these had
        os._exit(0)
