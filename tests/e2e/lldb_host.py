"""Runs pygc's command inside LLDB, in batch mode, on a core or an attached process."""
import glob
import os
import shutil
import tempfile

import process


def plugin():
    return os.path.join(os.path.dirname(os.path.dirname(process.PYGC)), "lib", "pygc_lldb.so")


def versions():
    """The lldb programs that can load the built plugin: the one it links against ($PYGC_LLDB names another)."""
    if not os.path.exists(plugin()):
        return []
    named = os.environ.get("PYGC_LLDB")
    if named:
        return [named]
    ran = process.run(["ldd", plugin()])
    wanted = [word.split(".so.")[1].split(".")[0] for word in ran.out.split() if word.startswith("liblldb-") and ".so." in word]
    wanted += [word[len("liblldb-"):].split(".so")[0] for word in ran.out.split() if word.startswith("liblldb-")]
    for version in wanted:
        path = shutil.which("lldb-" + version)
        if path:
            return [path]
    return [p for p in [shutil.which("lldb")] if p] or sorted(glob.glob("/usr/bin/lldb-[0-9]*"))[-1:]


def on_core(core, interpreter=None):
    return ["target create --core %s" % core]


def on_process(pid):
    return ["process attach --pid %d" % pid]


def commands(lines, timeout=300):
    """Runs LLDB command lines; the plugin is loaded first. Result: process.Result"""
    lldb = versions()[0]
    arguments = [lldb, "--no-lldbinit", "--batch", "-o", "settings set interpreter.prompt-on-quit false", "-o", "plugin load " + plugin()]
    for line in lines:
        arguments += ["-o", line]
    return process.run(arguments, timeout)


def session(lines, timeout=300):
    """The same lines typed at the prompt, which goes on after an error, as batch mode does not. Result: process.Result"""
    typed = "\n".join(["settings set interpreter.prompt-on-quit false", "plugin load " + plugin()] + lines + ["quit"]) + "\n"
    return process.run([versions()[0], "--no-lldbinit", "--no-use-colors"], timeout, typed=typed)


def leaks(target_lines, folder):
    """(result bytes or None, [what is wrong]) of `pygc leaks --format json` inside LLDB."""
    out = tempfile.mktemp(suffix=".json", dir=folder)
    detach = ["process detach"] if "attach" in target_lines[0] else []
    ran = commands(target_lines + ["pygc leaks --format json -o " + out] + detach)
    if not os.path.exists(out):
        return None, ["lldb wrote no report: exit %s: %s" % (ran.code, (ran.out + ran.err).strip()[-400:].replace("\n", " | "))]
    with open(out) as f:
        return process.result_bytes(f.read()), []
