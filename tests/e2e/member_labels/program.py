"""Owners of lists, of owner.c built with and without debug information.

usage: program.py TRUTH FOLDER      runs until it is killed. TRUTH: {"owner_named": [owner, [address of each list]], "owner_bare": ...} as JSON.
"""
from __future__ import print_function

import gc
import json
import os
import sys

gc.disable()
sys.path.insert(0, sys.argv[2])
import owner_bare  # noqa: E402
import owner_named  # noqa: E402

truth, kept = {}, []
for module in (owner_named, owner_bare):
    lists = [[module.__name__, k] for k in range(12)]
    owner = module.Owner(lists)
    kept += [owner, lists]
    truth[module.__name__] = [id(owner), [id(x) for x in lists]]
with open(sys.argv[1], "w") as f:
    json.dump(truth, f)
print("READY", os.getpid())
sys.stdout.flush()
sys.stdin.read()
os._exit(0)
