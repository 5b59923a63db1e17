#!/usr/bin/env python3
"""What `cmake --install` and the Debian packages put down works from there: the program, pygc-triage, GDB's command, LLDB's plugin, a C program that is
built against the library by pkg-config and by CMake, manual pages, completion.

usage: packages.py [--no-packages] [--chroot DIR]

Takes the build of $PYGC_BUILD (or build/). --chroot: a Debian without pygc, to which the packages are added by apt-get; it is not removed.
Last line: N passed, N failed, N skipped.
"""
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "support"))
import process  # noqa: E402
import terminal  # noqa: E402

BUILD = os.environ.get("PYGC_BUILD") or os.path.join(process.ROOT, "build")
C_PROGRAM = r"""
#include <pygc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int Out(void *user, const char *bytes, size_t size) { (void)user; return fwrite(bytes, 1, size, stdout) != size; }
static void Err(void *user, const char *bytes, size_t size) { (void)user; fwrite(bytes, 1, size, stderr); }
int main(int argc, char **argv) {
  char why[512];
  const char *words[] = {"leaks", "--format", "json", "--fail-on", "pending"};
  pygc_callbacks calls;
  pygc_session *session = pygc_open(why);
  int status;
  if (argc != 2 || session == NULL) { fprintf(stderr, "%s\n", session == NULL ? why : "usage"); return 100; }
  memset(&calls, 0, sizeof calls);
  calls.out = Out;
  calls.err = Err;
  pygc_set_stopped_pid(session, atoi(argv[1]));
  status = pygc_run(session, 5, words, &calls, NULL);
  pygc_close(session);
  return status;
}
"""


class Wrong(Exception):
    pass


def check(good, what):
    if not good:
        raise Wrong(what)


def run(*command, **more):
    more.setdefault("timeout", 300)
    return subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


def said(ran):
    return (ran.stdout + ran.stderr).decode(errors="replace").strip()[-400:]


def fixture():
    return process.Program(sys.executable, "node_tree")


def zsh_file(prefix):
    """Debian's zsh looks for files of packages in vendor-completions below /usr/share, and below /usr/local/share in site-functions."""
    return os.path.join("share", "zsh", "vendor-completions" if os.path.basename(prefix) == "usr" else "site-functions", "_pygc")


def documents(prefix):
    """Every link of an installed page leads to a file that is installed."""
    top, links = os.path.join(prefix, "share", "doc", "pygc"), 0
    for folder, _, names in os.walk(top):
        for name in names:
            if not name.endswith(".md"):
                continue
            with open(os.path.join(folder, name), encoding="utf-8") as f:
                targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", f.read())
            for target in targets:
                check(os.path.exists(os.path.join(folder, target)), "%s links to %s" % (name, target))
            links += len(targets)
    check(links >= 10, "only %d links" % links)
    for name, source in (("README.md",) * 2, ("SUPPORT.md",) * 2, ("CHANGELOG.md",) * 2, ("pages/gdb.md", "plugin/gdb/README.md"), ("pages/ci-core.md", "plugin/standalone/pages/ci-core.md"),
                         ("pages/ARCHITECTURE.md", "core/ARCHITECTURE.md")):
        texts = []
        for path in (os.path.join(top, name), os.path.join(process.ROOT, source)):
            with open(path, "rb") as f:
                texts.append([line for line in f.read().split(b"\n") if b"](" not in line])
        check(texts[0] == texts[1], "%s is not as in the sources" % name)


def files(prefix, root=""):
    """What the contract names is there, and nothing of this machine's paths is in the texts."""
    wanted = ["bin/pygc", "bin/pygc-triage", "lib/pygc/libpygc.so", "lib/pygc/pygc_gdb.py", "include/pygc.h", "lib/cmake/pygc/pygc-config.cmake", "lib/pkgconfig/pygc.pc",
              "share/man/man1/pygc-triage.1", "share/man/man1/pygc.1", "share/bash-completion/completions/pygc", zsh_file(prefix), "share/fish/vendor_completions.d/pygc.fish", "share/pygc/schema/leaks.1.schema.json", "share/pygc/ci/pytest_pygc.py", "share/doc/pygc/pages/first-ten-minutes.md", "share/doc/pygc/pages/how-it-works.md", "share/pygc/ci/kubernetes/fan-out.sh"]
    if os.path.exists(os.path.join(BUILD, "lib", "pygc_lldb.so")):
        wanted.append("lib/pygc/pygc_lldb.so")
    missing = [w for w in wanted if not os.path.exists(os.path.join(prefix, w))]
    check(not missing, "not installed: %s" % missing)
    for w in wanted:
        with open(os.path.join(prefix, w), "rb") as f:
            data = f.read()
        # Not in programs either: two builds of the same sources in two folders are the same bytes. Debug information has to name its sources.
        check(b".debug_info" in data or (BUILD.encode() not in data and process.ROOT.encode() not in data), "%s names the folder that it was built in" % w)


def program(prefix):
    with fixture() as p:
        ran = run(os.path.join(prefix, "bin", "pygc"), "-p", p.pid, "leaks", "--format", "json")
        check(ran.returncode == 0 and json.loads(ran.stdout)["result"]["unreachable"] == len(p.truth["unreachable"]), "exit %d: %s" % (ran.returncode, said(ran)))
        core = p.gcore()
        ran = run(os.path.join(prefix, "bin", "pygc-triage"), core, "--fail-on", "pending", env={k: v for k, v in os.environ.items() if k != "PYGC"})
        check(ran.returncode == 1 and b"Node" in ran.stdout, "pygc-triage: exit %d: %s" % (ran.returncode, said(ran)))


def in_gdb(prefix):
    with fixture() as p:
        ran = run("gdb", "-nx", "--batch", "-p", p.pid, "-ex", "source %s/lib/pygc/pygc_gdb.py" % prefix, "-ex", "pygc leaks")
        check(b"wait" in ran.stdout and b"Node" in ran.stdout, said(ran))


def in_lldb(prefix):
    plugin = os.path.join(prefix, "lib", "pygc", "pygc_lldb.so")
    if not os.path.exists(plugin) or not shutil.which("lldb"):
        raise process.CannotTest("no LLDB here, or no plugin built")
    with fixture() as p:
        ran = run("lldb", "-x", "--batch", "-p", p.pid, "-o", "plugin load " + plugin, "-o", "pygc leaks")
        check(b"Node" in ran.stdout, said(ran))


def for_developers(prefix, folder):
    """A C program, C89 and pedantic, by pkg-config and by CMake."""
    work = tempfile.mkdtemp(dir=folder)
    source = os.path.join(work, "uses.c")
    with open(source, "w") as f:
        f.write(C_PROGRAM)
    environment = dict(os.environ, PKG_CONFIG_PATH=os.path.join(prefix, "lib", "pkgconfig"))
    flags = run("pkg-config", "--cflags", "--libs", "pygc", env=environment)
    check(flags.returncode == 0, said(flags))
    # A package unpacked elsewhere takes the system's prefix out of its flags; the real one never does.
    built = run("cc", "-Wall", "-Wextra", "-Wpedantic", "-Werror", source, "-o", os.path.join(work, "by-pkg-config"), *flags.stdout.decode().split())
    check(built.returncode == 0, said(built))
    with open(os.path.join(work, "CMakeLists.txt"), "w") as f:
        f.write("cmake_minimum_required(VERSION 3.13)\nproject(uses C)\nfind_package(pygc 0.1 REQUIRED)\nadd_executable(by-cmake uses.c)\ntarget_link_libraries(by-cmake PRIVATE pygc::pygc)\n")
    for command in (("cmake", "-S", work, "-B", work, "-DCMAKE_PREFIX_PATH=" + prefix), ("cmake", "--build", work)):
        ran = run(*command)
        check(ran.returncode == 0, said(ran))
    with fixture() as p:
        for name in ("by-pkg-config", "by-cmake"):
            ran = run(os.path.join(work, name), p.pid)
            check(ran.returncode == 1 and json.loads(ran.stdout)["result"]["unreachable"] == len(p.truth["unreachable"]), "%s: exit %d: %s" % (name, ran.returncode, said(ran)))


def commands(prefix):
    text = run(os.path.join(prefix, "bin", "pygc"), "--help").stdout.decode()
    return re.findall(r"^  ([a-z][a-z-]+)  ", text[text.index("Commands"):text.index("Examples")], re.M)


def manual(prefix):
    if not shutil.which("man"):
        raise process.CannotTest("no man here")
    for name in ("pygc.1", "pygc-triage.1"):
        page = os.path.join(prefix, "share", "man", "man1", name)
        ran = run("man", "--warnings", "-l", page, env=dict(os.environ, MANWIDTH="160", LC_ALL="C.UTF-8"))
        check(ran.returncode == 0 and not ran.stderr.strip(), "%s: %s" % (name, said(ran)))
        text = ran.stdout.decode()
        options = run(os.path.join(prefix, "bin", "pygc-triage"), "--help", env=dict(os.environ, COLUMNS="200")).stdout.decode()
        for command in commands(prefix) if name == "pygc.1" else sorted(set(re.findall(r"--[a-z][a-z-]+", options))):
            check(command in text, "%s does not name %s" % (name, command))
    check(text and "Exit status: 0" in run("man", "-l", os.path.join(prefix, "share", "man", "man1", "pygc.1"), env=dict(os.environ, MANWIDTH="200")).stdout.decode(), "the options of the commands are not in the page")


def typed(script, keys, wanted, environment):
    """What is wrong with the line that bash shows after `keys`, with the completions of a file; nothing where it is `wanted`."""
    bash = terminal.Terminal(["bash", "--norc", "--noprofile", "-i"], dict(environment, PS1="READY ", TERM="dumb", INPUTRC="/dev/null", COLUMNS="400"))
    try:
        bash.wait_for("READY $")
        bash.send("source %s\n" % script)
        bash.wait_for("READY $")
        bash.send(keys)
        bash.wait_for(re.escape(wanted) + "$", 20)
    except AssertionError as e:
        return str(e)
    finally:
        bash.close()
    return ""


def completion(prefix):
    """What bash offers, from the installed file and the installed program; the other shells where they are here."""
    path = dict(os.environ, PATH=os.path.join(prefix, "bin") + ":" + os.environ["PATH"])
    script = os.path.join(prefix, "share", "bash-completion", "completions", "pygc")

    def offered(*words):
        text = "source %s; COMP_WORDS=(%s); COMP_CWORD=%d; %s; printf '%%s\\n' \"${COMPREPLY[@]}\"" % (
            script, " ".join("'%s'" % w for w in words), len(words) - 1, "_pygc_triage" if words[0] == "pygc-triage" else "_pygc")
        ran = run("bash", "--norc", "-c", text, env=path)
        check(ran.returncode == 0 and not ran.stderr, said(ran))
        return ran.stdout.decode().split()
    check(offered("pygc", "") == commands(prefix), "commands: %s" % offered("pygc", ""))
    check(offered("pygc", "-c", "core", "st") == ["status", "stacks"], "st: %s" % offered("pygc", "-c", "core", "st"))
    check({"--fail-on", "--baseline", "--format", "-o"} <= set(offered("pygc", "leaks", "-")), "options of leaks: %s" % offered("pygc", "leaks", "-"))
    check("--fail-on" not in offered("pygc", "heap", "--"), "options of heap")
    check(offered("pygc", "leaks", "--fail-on", "p") == ["pending"] and {"text", "json"} <= set(offered("pygc", "leaks", "--format", "")), "values")
    check(offered("pygc-triage", "--sa") == ["--sarif"], "pygc-triage: %s" % offered("pygc-triage", "--sa"))
    check(offered("pygc", "heap", "--by", "s") == ["site"] and offered("pygc", "heap", "--state", "un") == ["uncollectable", "unreachable"], "values of heap's options")
    # What a key does: a folder is gone on into, a space in a name is quoted.
    work = tempfile.mkdtemp(prefix="pygc-tab-")
    try:
        os.mkdir(os.path.join(work, "a folder"))
        open(os.path.join(work, "core.1"), "w").close()
        for words, wanted in (("pygc -c %s/a", "pygc -c %s/a\\ folder/"), ("pygc -c %s/c", "pygc -c %s/core.1 "), ("pygc -c x diff %s/c", "pygc -c x diff %s/core.1 "),
                              ("pygc -c x --sysroot %s/a", "pygc -c x --sysroot %s/a\\ folder/"), ("pygc-triage %s/a", "pygc-triage %s/a\\ folder/")):
            wrong = typed(script, words % work + "\t", wanted % work, path)
            check(not wrong, wrong)
        if shutil.which("fish"):
            for words, wanted in (("pygc sta", ["stacks", "status"]), ("pygc -c %s/c" % work, [work + "/core.1"]), ("pygc -e %s/c" % work, [work + "/core.1"]),
                                  ("pygc -c x diff %s/c" % work, [work + "/core.1"]), ("pygc leaks %s/c" % work, []), ("pygc -c x heap --by s", ["site"]), ("pygc leaks --format j", ["json"])):
                ran = run("fish", "--no-config", "-c", "source %s/share/fish/vendor_completions.d/pygc.fish; complete -C '%s'" % (prefix, words), env=path)
                check([line.split("\t")[0] for line in ran.stdout.decode().splitlines()] == wanted, "fish: %s: %s" % (words, said(ran)))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if shutil.which("zsh"):
        ran = run("zsh", "-n", os.path.join(prefix, zsh_file(prefix)))
        check(ran.returncode == 0, "zsh: " + said(ran))
        searched = run("zsh", "-f", "-c", "print -l $fpath").stdout.decode().split()
        for system in ("/usr/local", "/usr"):
            check(os.path.join(system, os.path.dirname(zsh_file(system))) in searched, "zsh does not look for completions of %s there: %s" % (system, searched[:4]))


def install(folder):
    prefix = os.path.join(folder, "prefix")
    ran = run("cmake", "--install", BUILD, "--prefix", prefix)
    check(ran.returncode == 0, said(ran))
    return prefix


def packages(folder):
    """The packages: names, dependencies, the same bytes when made again."""
    sums = []
    for n in (0, 1):
        work = os.path.join(folder, "deb%d" % n)
        os.mkdir(work)
        ran = run("cpack", "-G", "DEB", "--config", os.path.join(BUILD, "CPackConfig.cmake"), "-B", work, env=dict(os.environ, SOURCE_DATE_EPOCH="1700000000"), timeout=600)
        check(ran.returncode == 0, said(ran))
        debs = sorted(d for d in os.listdir(work) if d.endswith(".deb"))
        sums.append({d: hashlib.sha256(open(os.path.join(work, d), "rb").read()).hexdigest() for d in debs})
    names = {d.split("_")[0] for d in debs}
    wanted = {"pygc", "libpygc", "libpygc-dev", "pygc-gdb"} | ({"pygc-lldb"} if os.path.exists(os.path.join(BUILD, "lib", "pygc_lldb.so")) else set())
    check(names == wanted, "packages: %s" % sorted(names))
    check(sums[0] == sums[1], "not the same bytes twice: %s" % [d for d in debs if sums[0][d] != sums[1][d]])
    root = os.path.join(folder, "root")
    for d in debs:
        path = os.path.join(work, d)
        depends = run("dpkg-deb", "-f", path, "Depends").stdout.decode()
        package = d.split("_")[0]
        for needed in {"pygc": ["libc6", "libdw1", "libcapstone4"], "libpygc": ["pygc (="], "libpygc-dev": ["libpygc (="], "pygc-gdb": ["libpygc (=", "gdb (>= 13"], "pygc-lldb": ["pygc (=", "lldb-"]}[package]:
            check(needed in depends, "%s depends on: %s" % (package, depends))
        check(run("dpkg-deb", "-x", path, root).returncode == 0, "cannot unpack " + d)
    check(os.path.exists(os.path.join(root, "etc", "gdb", "gdbinit.d", "pygc.py")), "GDB does not load it at its start")
    gdb = next(d for d in debs if d.startswith("pygc-gdb"))
    check(run("dpkg-deb", "-I", os.path.join(work, gdb), "conffiles").stdout.strip() == b"/etc/gdb/gdbinit.d/pygc.py", "what an administrator changes there would be lost")
    return [os.path.join(work, d) for d in debs], os.path.join(root, "usr")


def at_start(prefix):
    """GDB with the package's file of gdbinit.d, as it lies beside the package's library."""
    with fixture() as p:
        ran = run("gdb", "-nx", "--batch", "-iex", "source " + os.path.join(os.path.dirname(prefix), "etc", "gdb", "gdbinit.d", "pygc.py"), "-p", p.pid, "-ex", "pygc leaks", "-ex", "help pygc leaks")
        check(b"Node" in ran.stdout and b"usage: pygc leaks" in ran.stdout, said(ran))


def unpacked_pages(prefix):
    """Debian's tools pack manual pages; CPack leaves them as they are. Either is readable."""
    folder = os.path.join(prefix, "share", "man", "man1")
    for name in os.listdir(folder):
        with (gzip.open if name.endswith(".gz") else open)(os.path.join(folder, name), "rb") as f:
            check(f.read(4) == b".TH ", name)


def in_chroot(debs, chroot):
    """apt-get installs the packages into a clean Debian, with what they depend on; the program runs there."""
    for d in debs:
        shutil.copy(d, os.path.join(chroot, "tmp"))
    # /proc is mounted in a mount namespace of its own, and goes with it: nothing stays mounted in the folder.
    inside = ["unshare", "--mount", "sh", "-c", 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"', chroot]
    ran = run(*inside, "sh", "-c", "apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends --reinstall install /tmp/*.deb", timeout=1800)
    check(ran.returncode == 0, said(ran))
    for command, wanted in ((["pygc", "--version"], b"pygc "), (["pygc", "self-test"], b"works"), (["sh", "-c", "$(ls /usr/bin/lldb /usr/bin/lldb-[0-9]* 2>/dev/null | head -n 1) --batch -o 'plugin load /usr/lib/pygc/pygc_lldb.so' -o 'pygc --help'"], b"leaks"), (["gdb", "--batch", "-ex", "help pygc leaks"], b"usage: pygc leaks"), (["sh", "-c", "PYGC_NO_AUTOLOAD=1 gdb --batch -ex 'source /usr/lib/pygc/pygc_gdb.py' -ex 'pygc --help'"], b"leaks")):
        ran = run(*inside, *command)
        check(ran.returncode == 0 and wanted in ran.stdout, "%s: exit %d: %s" % (command[0], ran.returncode, said(ran)))


def main():
    arguments, with_packages, chroot = sys.argv[1:], True, None
    while arguments:
        if arguments[0] == "--no-packages":
            with_packages, arguments = False, arguments[1:]
        elif arguments[0] == "--chroot" and len(arguments) > 1:
            chroot, arguments = arguments[1], arguments[2:]
        else:
            print(__doc__)
            return 0 if arguments[0] in ("-h", "--help") else 2
    passed = failed = skipped = 0
    folder = tempfile.mkdtemp(prefix="pygc-packages-")

    def attempt(name, function, *how):
        nonlocal passed, failed, skipped
        try:
            result = function(*how)
            passed += 1
            return result
        except process.CannotTest as e:
            skipped += 1
            print("skipped  %s: %s" % (name, e))
        except (Wrong, OSError, ValueError, KeyError, subprocess.TimeoutExpired) as e:
            failed += 1
            print("FAILED  %s: %s: %s" % (name, type(e).__name__, str(e)[:600]))

    def everything(where, prefix):
        for name, function, more in (("files", files, ()), ("documents", documents, ()), ("the program", program, ()), ("GDB", in_gdb, ()), ("LLDB", in_lldb, ()), ("C programs", for_developers, (folder,)), ("manual", manual, ()), ("completion", completion, ())):
            attempt("%s: %s" % (where, name), function, prefix, *more)

    try:
        prefix = attempt("cmake --install", install, folder)
        if prefix:
            everything("prefix", prefix)
        if with_packages:
            made = attempt("packages", packages, folder)
            if made:
                everything("packages", made[1])
                attempt("manual pages", unpacked_pages, made[1])
                attempt("GDB's start", at_start, made[1])
                if chroot:
                    attempt("chroot", in_chroot, made[0], chroot)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
