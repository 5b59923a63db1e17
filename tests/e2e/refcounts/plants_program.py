"""Counts one too high among objects whose addresses lie in much memory that is not in use: lists, tuples, key tables and frames that were given up.

usage: plants_program.py TRUTH held|tree|node|forgotten     runs until it is killed; the collector never runs.
held       44 objects in one dict, the count of each one too high
tree       a tree whose nodes refer to their parent: nobody refers to it, and the count of its root is one too high
node       the same, and the count of one node in the middle is
forgotten  a dict that nobody refers to, after a Py_INCREF()
TRUTH: {"planted": {address: [type, bytes]}, "hanging": {"objects": how many, "bytes": of them and the planted one}} as JSON.
"""
from __future__ import print_function

import ctypes
import gc
import json
import os
import sys

from counts import change

gc.disable()


class Inst(object):
    def __init__(self, i):
        self.i = [i]


class Node(object):
    def __init__(self, parent, i):
        self.parent, self.name, self.children = parent, "node %d of the tree" % i, []
        if parent is not None:
            parent.children.append(self)


def make(i):
    return [(i, [i]), "text %d" % i, [i, i], {"key": i, "list": [i]}, Inst(i), frozenset([i, "f"]), set([i, "x"]), i + 10 ** 20, i + 0.25, bytearray(b"bytes"), lambda: i]


def keywords(first=None, **others):
    return len(others)


def give_up(o):
    """Puts the object into all that CPython keeps for its next use, and lets go of it."""
    for n in range(1, 8):
        tuple([o] * n)
        len([o] * n)
    for n in range(3):
        dict(a=o, b=o, c=o)
        keywords(first=o, second=o, third=o)
    slice(o, o, o)
    pairs = [[o, o] for _ in range(16)]
    del pairs
    classes.extend(type("Class", (), {"__doc__": "Text"}) for _ in range(3))  # each text in a block that one of the lists had
    large = [o] * 200
    dict(enumerate(large))
    large = sorted(map(id, large))
    str(large)


def parts(root):
    """All objects of the structure, itself among them."""
    found, work = {}, [root]
    while work:
        o = work.pop()
        if id(o) not in found and o is not None and not isinstance(o, type):
            found[id(o)] = o
            work.extend(gc.get_referents(o))
    return found


def described(o):
    return hex(id(o)).rstrip("L"), (type(o).__name__, sys.getsizeof(o))


def made():
    return dict(enumerate(o for i in range(4) for o in make(i)))


def held(by):
    objects = registry if by else others
    for o in objects.values():
        give_up(o)
        change(id(o), by)
    return dict(map(described, objects.values())), None


def tree(by, middle=False):
    nodes = [Node(None, 0)]
    for i in range(1, 121):
        nodes.append(Node(nodes[(i - 1) // 3], i))
    for n in nodes:
        give_up(n)
    head = nodes[5 if middle else 0]
    n = nodes = None
    all_of_it = parts(head)
    hanging = {"objects": len(all_of_it) - 1, "bytes": sum(sys.getsizeof(o) for o in all_of_it.values())}
    change(id(head), by)
    if not by:
        kept.append(head)
    return dict([described(head)]), hanging


def node(by):
    return tree(by, True)


def forgotten(by):
    d = {"first": [1, 2], "second": "text"}
    give_up(d)
    if by:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(d))
    return dict([described(d)]), {"objects": 1, "bytes": sys.getsizeof(d) + sys.getsizeof(d["first"])}  # constants are held by the code


def plant(what, by):
    planted, hanging = what(by)
    with open(sys.argv[1] if by else os.devnull, "w") as f:
        json.dump({"planted": planted, "hanging": hanging}, f)


classes = []
registry, others, kept = made(), made(), []
# A second time without a wrong count: what C code left in its places of the stack is then of other objects.
for by in (1, 0):
    plant({"held": held, "tree": tree, "node": node, "forgotten": forgotten}[sys.argv[2]], by)
print("READY %d" % os.getpid())
sys.stdout.flush()
while True:
    if not os.read(0, 1):
        os._exit(0)
