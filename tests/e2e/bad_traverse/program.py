"""Instances of classes whose tp_traverse is one of functions.c, or code in memory that is no file's, and plain cycles beside them.

usage: program.py TRUTH LIBRARY      runs until it is killed; the collector is off and never runs. TRUTH: {"plain": N, "each": N, "borrowed": N, "kinds": [...]} as JSON.
"""
from __future__ import print_function

import ctypes
import gc
import json
import mmap
import os
import sys

gc.disable()

TP_TRAVERSE = 184       # offset in PyTypeObject of every release build with a GIL
PLAIN, EACH = 50, 100   # cycles of two plain objects; objects of each bad kind
BORROWED = 30           # cycles that objects in use have the addresses of, and no reference

# mov rdi,[rdi+16]; test rdi,rdi; je done; mov rax,rsi; mov rsi,rdx; jmp rax; done: xor eax,eax; ret
CODE = b"\x48\x8b\x7f\x10\x48\x85\xff\x74\x08\x48\x89\xf0\x48\x89\xd6\xff\xe0\x31\xc0\xc3"

FUNCTIONS = ["right", "right_after_private", "loops", "visits_for_ever", "recurses", "visits_small_number", "visits_misaligned", "visits_no_object",
             "visits_first_then_faults", "faults", "calls_wild_pointer", "traps", "divides_by_zero", "says_no", "passes_another_argument", "aborts",
             "writes_text", "writable_data", "code_in_rodata"]


class Plain(object):
    pass


class Borrowed(object):
    pass


def anonymous(writable):
    """Address of CODE in anonymous memory, as a JIT has it."""
    area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    area.write(CODE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    if not writable:
        libc = ctypes.CDLL(None)
        libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        if libc.mprotect(address, 4096, mmap.PROT_READ | mmap.PROT_EXEC) != 0:
            raise OSError("mprotect")
    return address, area


def make(name, function):
    cls = type(name, (object,), {"__slots__": ("a",)})
    ctypes.c_void_p.from_address(id(cls) + TP_TRAVERSE).value = function
    out = []
    for _ in range(EACH):
        o = cls()
        o.a = o
        out.append(o)
    return cls, out


def make_borrowers(function):
    """Objects with a traversal that is code of no file, and with a word that points to garbage: that does not hold it."""
    cls = type("borrower", (object,), {"__slots__": ("a", "b")})
    ctypes.c_void_p.from_address(id(cls) + TP_TRAVERSE).value = function
    kept = []
    for _ in range(BORROWED):
        kept.append(cls())
        b = Borrowed()
        b.itself = b
        ctypes.c_void_p.from_address(id(kept[-1]) + object.__basicsize__ + 8).value = id(b)
    return kept


def main():
    library = ctypes.CDLL(sys.argv[2])
    kept = [(n, make(n, ctypes.addressof(ctypes.c_char.in_dll(library, n)))) for n in FUNCTIONS]
    areas = []
    for name, writable in (("anonymous", False), ("anonymous_writable", True)):
        address, area = anonymous(writable)
        areas.append(area)
        kept.append((name, make(name, address)))
    borrowers = make_borrowers(ctypes.addressof(ctypes.c_char.from_buffer(areas[0])))
    kept.append(("in_the_heap", make("in_the_heap", id(kept))))
    kept.append(("nowhere", make("nowhere", 0x41414141000)))
    for _ in range(PLAIN):
        p, q = Plain(), Plain()
        p.other, q.other = q, p
    del p, q
    with open(sys.argv[1], "w") as f:
        json.dump({"plain": 2 * PLAIN, "each": EACH, "borrowed": len(borrowers), "kinds": [n for n, _ in kept]}, f)
    print("READY", os.getpid())
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


main()
