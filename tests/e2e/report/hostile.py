"""A process full of names that would do harm where a page takes them for markup. Prints READY, then waits."""
import gc
import os
import sys

gc.collect()
gc.disable()
TAG = "<img src=x onerror=alert(1)><script>alert(2)</script></script></style>\"'&--><!--\x1b[2J"
Hostile = type(TAG, (object,), {})
keep = {TAG: [Hostile() for _ in range(500)], "large": list(range(1000, 60000))}


def cycle():
    a, b = Hostile(), {}
    setattr(a, TAG, b)
    b[TAG] = a


for _ in range(3):
    cycle()
for i in range(30):
    x = type("Ring%d" % i, (object,), {})()
    x.me = [x]
    del x
TURNED = u"\u202ex\u200b\x1b" if sys.version_info[0] > 2 else u"\u202ex\u200b\x1b".encode("utf-8")    # runs backwards where it is shown as it is
Turned = type(TURNED, (object,), {})
turned = Turned()
setattr(turned, TURNED, turned)
del turned
scope = {"os": os, "sys": sys}
exec(compile("def f():\n sys.stdout.write('READY %d\\n' % os.getpid())\n sys.stdout.flush()\n sys.stdin.readline()\nf()", TAG.replace("\x1b", ""), "exec"), scope)
