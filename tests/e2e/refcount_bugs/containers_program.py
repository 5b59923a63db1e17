"""Hidden cycles through the C++ containers of containers.cc, and objects that live ones hold.

usage: containers_program.py TRUTH FOLDER    FOLDER holds the module `containers`. Runs until it is killed; the collector is off.
TRUTH: {"cycles": {class: addresses of its instances, each in a cycle of its own, in memory that nobody had before}, "in_used_memory": the same, in memory that others
gave back, "alive": [addresses]} as JSON.
"""
from __future__ import print_function

import gc
import json
import os
import sys

gc.disable()
sys.path.insert(0, sys.argv[2])
import containers  # noqa: E402

KINDS = ["vector", "list", "map", "unordered_map", "function", "shared_ptr"]
EACH = 3


class Held(object):
    pass


def address(o):
    return hex(id(o)).rstrip("L")


def make(prefix):
    cycles = {}
    for kind in KINDS:
        cls = type(prefix + "In_" + kind, (object,), {})
        sub = type(prefix + "Pet_" + kind, (containers.Pet,), {})
        for _ in range(EACH):
            o = cls()
            o.pet = containers.Pet()
            getattr(o.pet, kind)(o)
            cycles.setdefault(cls.__name__, []).append(address(o))
            o = sub()
            getattr(o, kind)(o)
            cycles.setdefault(sub.__name__, []).append(address(o))
    return cycles


in_used_memory = make("Used_")
used = [[n] * (n % 60) for n in range(20000)] + [Held() for _ in range(2000)]  # all free memory of objects
pets = [containers.Pet() for _ in KINDS]
alive = []
for kind, pet in zip(KINDS, pets):
    o = Held()
    o.pet = pet
    alive.append(address(o))
    getattr(pet, kind)(o)
o = pet = None
containers.take_free_memory()
cycles = make("")
with open(sys.argv[1], "w") as f:
    json.dump({"cycles": cycles, "in_used_memory": in_used_memory, "alive": alive}, f)
f = None
containers.clear_stack()
print("READY %d" % os.getpid())
sys.stdout.flush()
while True:
    if not os.read(0, 1):
        os._exit(0)
