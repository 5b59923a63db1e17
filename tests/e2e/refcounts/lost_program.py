"""Leaked objects of many types of C code that the collector does not track: nothing is left of each but its count.

usage: lost_program.py TRUTH small | large | mapped     runs until it is killed; the collector is off. "large": kinds with much memory that they never fill, so that it
has references that are none any more. "mapped": what malloc gives mappings of their own.
TRUTH: {"planted": {address: kind}, "kinds": how many kinds this interpreter has, "classes": {address: name} of classes that the state of a module has, whose count is one
too high (small)} as JSON.
"""
from __future__ import print_function

import array
import ctypes
import datetime
import decimal
import gc
import hashlib
import json
import mmap
import os
import re
import select
import struct
import sys
import threading
import zlib

gc.disable()
COPIES = 6
MAPPED = "mapped "
LARGE = ("compress", "decompress", "bz2", "lzma", "zstd", "database", "random", "expat", "scandir", "directory")


def optional(name):
    try:
        return __import__(name)
    except ImportError:
        return None


bz2, lzma, sqlite3, ssl, pyexpat, lsprof, rand, lib = [
    optional(n) for n in ("bz2", "lzma", "sqlite3", "ssl", "pyexpat", "_lsprof", "_random", "_hashlib")]
try:
    import _thread
except ImportError:
    import thread as _thread


def match(i):
    return re.compile("(x)(y%d)?" % (i % 3)).match("xy%d text that nobody else has" % i)


def hashed(name):
    def make(i):
        h = hashlib.new(name)
        h.update(b"text %d" % i if sys.version_info > (3, 5) else b"text")
        return h
    return make


def compressing(i):
    c = zlib.compressobj(i % 9 + 1)
    c.compress(b"some bytes " * (i + 1))
    return c


def decompressing(i):
    d = zlib.decompressobj()
    d.decompress(zlib.compress(b"some bytes " * (i + 1))[:9])
    return d


def own_hash(module, name):
    module = optional(module)
    return (lambda i: getattr(module, name)(b"text")) if module is not None and hasattr(module, name) else None


def database(i):
    return sqlite3.connect(":memory:") if (sqlite3.Connection.__flags__ >> 14 & 1) == 0 else None  # else what it has in memory would be garbage


KINDS = {
    "compress": compressing, "decompress": decompressing, "md5": hashed("md5"), "sha256": hashed("sha256"), "sha1 of the module": own_hash("_sha1", "sha1"),
    "sha256 of the module": own_hash("_sha256", "sha256"), "sha512 of the module": own_hash("_sha512", "sha512"), "md5 of the module": own_hash("_md5", "md5"),
    "sha2 of the module": own_hash("_sha2", "sha256"), "sha3": own_hash("_sha3", "sha3_256"), "blake2b": own_hash("_blake2", "blake2b"), "blake2s": own_hash("_blake2", "blake2s"),
    "match": match, "array of ints": lambda i: array.array("l", range(i + 20)), "array of doubles": lambda i: array.array("d", [1.5] * (i + 1)), "empty array": lambda i: array.array("b"),
    "struct": lambda i: struct.Struct("<%dsHiq" % (i + 1)), "lock": lambda i: _thread.allocate_lock(), "taken lock": lambda i: taken(), "rlock": lambda i: threading.RLock(),
    "bz2 compressor": lambda i: bz2.BZ2Compressor(), "bz2 decompressor": lambda i: bz2.BZ2Decompressor(), "lzma compressor": lambda i: lzma.LZMACompressor(), "lzma decompressor": lambda i: lzma.LZMADecompressor(),
    "random": lambda i: rand.Random(i), "mmap": lambda i: mmap.mmap(-1, 4096), "poll": lambda i: polled(), "epoll": lambda i: select.epoll(), "ssl memory": lambda i: ssl.MemoryBIO(),
    "encoder": lambda i: codecs_encoder(), "expat": lambda i: pyexpat.ParserCreate(), "range iterator": lambda i: iter(range(i + 5)), "long range iterator": lambda i: iter(range(i, 10 ** 20)),
    "datetime": lambda i: datetime.datetime(i + 1, 2, 3, tzinfo=UTC), "time": lambda i: datetime.time(1, i), "timedelta": lambda i: datetime.timedelta(i + 1), "timezone": lambda i: datetime.timezone(datetime.timedelta(hours=i + 1)),
    "decimal": lambda i: decimal.Decimal(i) / 7, "large decimal": lambda i: decimal.Decimal(10 ** 90 + i), "context": lambda i: decimal.Context(prec=i + 5), "pattern": lambda i: re.compile("[a-z]%d" % (i + 4000)),
    "range": lambda i: range(i, i + 10 ** 6, 7), "code": lambda i: compile("x + %d" % i, "file%d" % i, "eval"), "capsule": lambda i: capsule(i), "directory entry": lambda i: next(entries()),
    "scandir": lambda i: entries(), "bytes": lambda i: b"bytes " + str(i).encode(), "text": lambda i: "text number %d" % (i + 10), "int": lambda i: i + 10 ** 30, "float": lambda i: i + 0.125,
    "complex": lambda i: complex(i, 7), "bytearray": lambda i: bytearray(b"x" * (i + 9)),
    "hmac": lambda i: lib.hmac_new(b"key", b"text", "sha256"), "profiler": lambda i: lsprof.Profiler(), "database": database, "socket": lambda i: optional("_socket").socket(), "struct iterator": lambda i: struct.iter_unpack("<h", b"x" * 8),
    "encoding map": lambda i: optional("_codecs").charmap_build(u"".join(map(chr, range(97, 97 + 200))) if sys.version_info[0] > 2 else u"".join(map(unichr, range(200)))),  # noqa: F821
    "zstd compressor": lambda i: optional("compression.zstd") and __import__("compression.zstd", fromlist=["x"]).ZstdCompressor(),
    "mapped bytes": lambda i: b"x" * (300000 << i), "mapped text": lambda i: "x" * (300001 << i), "mapped wide text": lambda i: u"\u20ac" * (200001 << i), "mapped bytearray": lambda i: bytearray(300000 << i),
    "mapped int": lambda i: 1 << (3000000 << i),
}
if sys.version_info < (3, 0):
    del KINDS["float"]  # many have one block. CPython: PyFloatBlock, Objects/floatobject.c [2.7]


class Zone(datetime.tzinfo):
    def utcoffset(self, when):
        return None


UTC = Zone()


def taken():
    lock = _thread.allocate_lock()
    lock.acquire()
    return lock


def polled():
    p = select.poll()
    p.register(0)
    return p


def entries():
    return iter(os.scandir("/"))


def codecs_encoder():
    import codecs
    return codecs.getincrementalencoder("shift_jis")()


def capsule(i):
    new = ctypes.pythonapi.PyCapsule_New
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new(4096 + i, None, None)


def made():
    objects = []
    for kind in sorted(k for k in KINDS if sys.argv[2] == ("mapped" if k.startswith(MAPPED) else "large" if k.startswith(LARGE) else "small")):
        for i in range(COPIES):
            try:
                o = KINDS[kind](i)
            except Exception:
                continue  # not of this version or build
            if o is not None and (type(o).__flags__ >> 14 & 1) == 0:
                objects.append((kind, o))
    return objects


def plant(leak):
    objects, planted = made(), {}
    incref = ctypes.pythonapi.Py_IncRef
    for n in range(len(objects)):
        kind, o = objects[n]
        planted[hex(id(o)).rstrip("L")] = kind
        if leak:
            incref(ctypes.py_object(o))
    return planted


def plant_classes():
    """A class in a module's state lies where the module's traversal shows it and in memory that is searched: one reference, not two."""
    classes = {}
    for c in [type(zlib.compressobj()), type(zlib.decompressobj())] if sys.argv[2] == "small" and sys.version_info > (3, 8) else []:
        if c.__flags__ >> 9 & 1:  # Py_TPFLAGS_HEAPTYPE
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(c))
            classes[hex(id(c))] = c.__name__
    return classes


def main():
    truth = plant(True)
    with open(sys.argv[1], "w") as f:
        json.dump({"planted": truth, "kinds": len(set(truth.values())), "classes": plant_classes()}, f)
    plant(False)  # what C code left in its places of the stack is then of other objects
    re.purge()


main()
print("READY %d" % os.getpid())
sys.stdout.flush()
while True:
    if not os.read(0, 1):
        os._exit(0)
