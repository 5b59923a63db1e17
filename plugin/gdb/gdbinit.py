python = None  # a GDB without Python takes this for its command `python`, says that it has none, and stops reading
# Gives every GDB the command `pygc`: installed as /etc/gdb/gdbinit.d/pygc.py. PYGC_NO_AUTOLOAD=1 or `gdb -nx` leaves it out.
import os

import gdb


def _load_pygc():
    here = os.path.dirname(os.path.abspath(__file__)) if "__file__" in globals() else "/etc/gdb/gdbinit.d"
    root = os.path.dirname(os.path.dirname(os.path.dirname(here)))
    for path in (os.path.join(root, "usr", "lib", "pygc", "pygc_gdb.py"), "/usr/lib/pygc/pygc_gdb.py"):
        if os.path.exists(path):
            try:
                with open(path, encoding="utf-8") as f:
                    code = compile(f.read(), path, "exec")
                exec(code, {"__name__": "pygc_gdb", "__file__": path})
            except Exception as e:      # GDB starts all the same
                gdb.write("pygc was not loaded: %s\n" % e, gdb.STDERR)
            return


if not os.environ.get("PYGC_NO_AUTOLOAD"):
    _load_pygc()
del _load_pygc, python
