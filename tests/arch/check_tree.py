#!/usr/bin/env python3
"""What must not be in a committed file: a home folder's path, or the address of a package registry.

Interpreters are found by search, and the mirror is the one that the machine's own apt uses."""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
HOME = re.compile(r"(?:^|[^A-Za-z0-9._~-])/(?:root|home/[a-z]+)/")


def registry_hosts():
    try:
        run = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return []
    return sorted({m.group(1) for m in re.finditer(r"://([^/\s]+)", run.stdout.decode())})


def main():
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if listed.returncode:
        print("not a git checkout: nothing checked")
        return 0
    hosts = registry_hosts()
    found, files = [], 0
    for name in listed.stdout.decode().split("\0"):
        path = os.path.join(ROOT, name)
        if not name or not os.path.isfile(path):
            continue
        with open(path, "rb") as f:
            raw = f.read()
        if b"\0" in raw[:8192]:
            continue
        files += 1
        for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1):
            if HOME.search(line):
                found.append("%s:%d: a path of one machine: %s" % (name, number, line.strip()[:100]))
            found += ["%s:%d: names the registry %s" % (name, number, h) for h in hosts if h in line]
    print("\n".join(found) if found else "%d files" % files)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
