#!/usr/bin/env python3
"""What was built is hardened: what the compiler and the linker were asked for is in the files.

usage: check_hardening.py READELF FILE...      (FILE: the program, libpygc.so, the LLDB plugin)

Each: position-independent, a stack that cannot be executed, no segment both writable and executable, relocations read-only after loading (the plugin: all but
those that it binds late), no search path of the build, stack protector, checked string functions (_FORTIFY_SOURCE), checked containers (_GLIBCXX_ASSERTIONS)."""
import os
import re
import subprocess
import sys


def faults(readelf, path):
    said = subprocess.run([readelf, "-hldW", "--dyn-syms", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=True).stdout
    program = not os.path.basename(path).endswith(".so")
    late = os.path.basename(path) == "pygc_lldb.so"
    segments = re.findall(r"^\s+([A-Z_]+)\s+0x[0-9a-f]+ 0x[0-9a-f]+ 0x[0-9a-f]+ 0x[0-9a-f]+ 0x[0-9a-f]+ ([RWE ]{3})", said, re.M)
    if not re.search(r"Type:\s+DYN", said) or (program and "PIE" not in said):
        yield "not position-independent"
    if [flags for kind, flags in segments if kind == "GNU_STACK"] != ["RW "]:
        yield "a stack that can be executed"
    if any("W" in flags and "E" in flags for _, flags in segments):
        yield "a segment that is writable and executable"
    if not any(kind == "GNU_RELRO" for kind, _ in segments):
        yield "no RELRO"
    if not late and not re.search(r"\((FLAGS|FLAGS_1|BIND_NOW)\).*NOW|\(BIND_NOW\)", said):
        yield "binds late: its GOT stays writable"
    if late and re.search(r"\(BIND_NOW\)|\bNOW\b", said):
        yield "binds at once: it would fail in an LLDB of another version before it can say so"
    if re.search(r"\((RPATH|RUNPATH|TEXTREL)\)", said):
        yield "RPATH, RUNPATH or TEXTREL"
    for symbol, what in (("__stack_chk_fail", "stack protector"), ("__[a-z]+_chk", "_FORTIFY_SOURCE"), (".*__glibcxx_assert_fail.*", "_GLIBCXX_ASSERTIONS")):
        if not re.search(r" UND %s(@|$)" % symbol, said, re.M):
            yield "no " + what


def main():
    readelf, paths = sys.argv[1], sys.argv[2:]
    wrong = [(path, fault) for path in paths for fault in faults(readelf, path)]
    for path, fault in wrong:
        print("%s: %s" % (os.path.basename(path), fault))
    # The check itself must be able to fail: a file that nobody hardened.
    if not list(faults(readelf, sys.executable)) and not list(faults(readelf, os.path.realpath("/proc/self/exe"))):
        print("this Python passes too, which has no _GLIBCXX_ASSERTIONS: the check sees nothing")
        return 1
    print("%d files, %d faults" % (len(paths), len(wrong)))
    return 1 if wrong or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
