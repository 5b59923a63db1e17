"""Copies of a process with wrong counts on random objects.

usage: random_program.py TRUTH     For each line "SEED N" on stdin: forks a copy, changes the counts of N random objects in it, prints "COPY PID" and waits.
A line "healthy": the same with no count changed. The copy ends with this process, or when it is killed.
TRUTH of a copy: TRUTH.PID, {address: "surplus" | "deficit"} as JSON; written before the counts are changed.
"""
from __future__ import print_function

import array
import collections
import ctypes
import functools
import gc
import json
import os
import random
import re
import sys
import types

import counts

gc.disable()
MASK = 0x5a5a5a5a5a5a5a5a  # so that the list of addresses is none of references


class Node(object):
    def __init__(self, i):
        self.i, self.items, self.table = i + 5000, [i + 6000], {"k%d" % i: (i + 7000,)}


class Slots(object):
    __slots__ = ("a", "b")


def generator(x):
    yield x
    yield [x]


def make(i):
    s = Slots()
    s.a, s.b = [i], "text %d" % i
    g = generator(i + 10 ** 6)
    next(g)
    o = collections.OrderedDict((str(j), [j]) for j in range(5))
    d = collections.deque([[i], (i,)])
    return [Node(i), s, g, o, d, {i, (i, "x")}, functools.partial(make, [i]), lambda: s, re.compile("a%d" % i), bytearray(b"x%d" % i if sys.version_info > (3, 5) else b"x"),
            i + 10 ** 15, i + 0.5, "str of %d" % i, u"unicode \u20ac %d" % i, range(i, i + 10 ** 9) if sys.version_info[0] > 2 else i, complex(i, i), frozenset([i, "f"]),
            memoryview(b"abcdef"), property(make), types.ModuleType("m%d" % i), iter([i]), enumerate([i]), Exception("e%d" % i), type("C%d" % i, (object,), {"x": i})]


keep = [make(n) for n in range(60)]


def candidates():
    """Addresses of objects that may be chosen: tracked ones of this program, and what they refer to."""
    found, seen = array.array("L"), set()
    static = []  # data of modules: up to 3.11 its counts start with values of their own
    with open("/proc/self/maps") as f:
        for line in f:
            begin, end = [int(x, 16) for x in line.split()[0].split("-")]
            if "/" in line or (static and begin == static[-1][1] and "[" not in line):  # .bss follows the file's part
                static.append([begin, end])
    work = [keep]
    while work:
        o = work.pop()
        if id(o) in seen:
            continue
        seen.add(id(o))
        if isinstance(o, (type(sys), types.FunctionType, types.CodeType)) or (isinstance(o, dict) and "__builtins__" in o) or (isinstance(o, type) and o.__module__ != "__main__"):
            continue
        # ctypes reads and writes a count as an int. Where that is the very object, the write undoes what it has just counted for itself.
        is_count = type(o) is int and 0 <= o <= 256
        if o is not keep and not is_count and 0 < counts.count(id(o)) < 1 << 20 and not any(begin <= id(o) < end for begin, end in static):
            found.append(id(o) ^ MASK)
        work.extend(gc.get_referents(o))
    return found


def from_a_copy():
    """Looked for in a copy, which has the same addresses: what is freed after the search would leave references in memory that is used again."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with os.fdopen(writer, "wb") as f:
            candidates().tofile(f)
        os._exit(0)
    os.close(writer)
    found, words = array.array("L"), ctypes.create_string_buffer(4096)
    libc = ctypes.CDLL(None)
    while True:
        n = libc.read(reader, words, 4096)
        if n <= 0:
            break
        found.frombytes(words.raw[:n]) if hasattr(found, "frombytes") else found.fromstring(words.raw[:n])
    os.waitpid(pid, 0)
    return found


ADDRESSES = from_a_copy()
gc.collect()


def copy(line):
    words = line.split()
    plan = {}  # by masked address: the hash of an int is its value, and stands in the dict
    if words[0] != "healthy":
        chosen = random.Random(int(words[0])).sample(range(len(ADDRESSES)), min(int(words[1]), len(ADDRESSES)))
        for n, i in enumerate(chosen):
            low = n % 2 and counts.count(ADDRESSES[i] ^ MASK) >= 2  # one that goes to 0 would be freed by its next use
            plan[ADDRESSES[i]] = -1 if low else 1
    with open("%s.%d" % (sys.argv[1], os.getpid()), "w") as f:
        json.dump({hex(a ^ MASK).rstrip("L"): "deficit" if by < 0 else "surplus" for a, by in plan.items()}, f)
    for a in plan:
        counts.change(a ^ MASK, plan[a])
    a = plan = None
    for _ in range(3):
        counts.change(id(keep), 0)  # what ctypes made for the last one is gone, and its memory used again


with open(sys.argv[1], "w") as f:
    f.write("{}")
print("READY %d" % os.getpid())
sys.stdout.flush()
while True:
    line = sys.stdin.readline()
    if not line:
        os._exit(0)
    to_child, from_parent = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(from_parent)
        copy(line)
        os.write(1, ("COPY %d\n" % os.getpid()).encode())
        os.read(to_child, 1)
        os._exit(0)
    os.close(to_child)
    os.waitpid(child, 0)
    os.close(from_parent)
