"""What the examples of pygc's help name: an app.Session, nodes and a cache in use, some cycles. Address of one session in the truth."""
import gc
import json
import sys

gc.disable()
try:
    import tracemalloc      # heap --by site
    tracemalloc.start()
except ImportError:
    pass


class Session(object):
    def __init__(self, user):
        self.user = user


class Node(object):
    def __init__(self, parent):
        self.parent, self.children = parent, []
        if parent is not None:
            parent.children.append(self)


class Cache(dict):
    pass


for made in (Session, Node, Cache):
    made.__module__ = "app"

SESSION = Session("ann")
ROOT = Node(None)
NODES = [Node(ROOT) for _ in range(3)]
CACHE = Cache(a=1)
for _ in range(4):
    Node(Node(None))

with open(sys.argv[1], "w") as f:
    json.dump({"session": "0x%x" % id(SESSION)}, f)
sys.stdout.write("READY %d\n" % __import__("os").getpid())
sys.stdout.flush()
sys.stdin.readline()
