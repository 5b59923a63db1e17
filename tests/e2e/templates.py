#!/usr/bin/env python3
"""The templates of plugin/standalone/share/ci do what they say, as far as that can be run without their services: the steps of the CI files as scripts,
the pytest plugin on runs that hang, crash, leak and do nothing, the units by systemd-analyze and by their command, the Job's script on a folder for a bucket.

usage: templates.py [-v]        Last line: N passed, N failed, N skipped.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import process  # noqa: E402
import triage  # noqa: E402
from triage import Wrong, check  # noqa: E402

CI = os.path.join(process.ROOT, "plugin", "standalone", "share", "ci")


def environment(**more):
    """With pygc and pygc-triage on the PATH."""
    path = os.pathsep.join([os.path.dirname(triage.SCRIPT), os.path.dirname(process.PYGC), os.environ["PATH"]])
    return dict(os.environ, PATH=path, PYGC=process.PYGC, **more)


def run(command, **more):
    more.setdefault("env", environment())
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300, **more)


def said(ran):
    return (ran.stdout + ran.stderr).decode(errors="replace").strip()[-500:]


def yaml_of(*path):
    try:
        import yaml
    except ImportError:
        raise process.CannotTest("python3-yaml is not installed")
    with open(os.path.join(CI, *path)) as f:
        return list(yaml.safe_load_all(f))


def work_folder(folder, cores, *names):
    """A checkout with a folder of cores."""
    work = tempfile.mkdtemp(dir=folder)
    os.mkdir(os.path.join(work, "cores"))
    for name in names:
        shutil.copy(cores[name], os.path.join(work, "cores", "core." + name))
    return work


def github(folder, cores):
    steps = yaml_of("github-actions.yml")[0]["jobs"]["test"]["steps"]
    script = next(s["run"] for s in steps if s.get("name") == "Triage")
    for names, status in (((), 0), (("abort", "nothing"), 1)):
        work = work_folder(folder, cores, *names)
        summary = os.path.join(work, "summary.md")
        with open(summary, "w") as f:
            f.write("what another step wrote\n")
        variables = environment(CORES=os.path.join(work, "cores"), GITHUB_STEP_SUMMARY=summary, GITHUB_WORKSPACE=os.path.dirname(os.path.dirname(cores["abort"])))
        ran = run(["bash", "-e", "-o", "pipefail", "-c", script], cwd=work, env=variables)
        check(ran.returncode == status, "exit %d, not %d: %s" % (ran.returncode, status, said(ran)))
        with open(summary) as f:
            text = f.read()
        check(text.startswith("what another step wrote\n") and "pygc triage" in text, "the job summary")
        check(ran.stdout.count(b"::error file=") == status, "annotations: %s" % said(ran))
        with open(os.path.join(work, "triage.sarif")) as f:
            check(len(json.load(f)["runs"][0]["results"]) == 2 * status, "SARIF")
        check(len(ElementTree.parse(os.path.join(work, "triage.xml")).findall(".//failure")) == status, "JUnit")
    # The next run has a baseline.
    run([sys.executable, triage.SCRIPT, os.path.join(work, "cores"), "-q", "--write-baseline", os.path.join(work, ".pygc-baseline.json")])
    ran = run(["bash", "-e", "-o", "pipefail", "-c", script], cwd=work, env=variables)
    check(ran.returncode == 0 and b"::error" not in ran.stdout, "with a baseline: exit %d: %s" % (ran.returncode, said(ran)))


def gitlab(folder, cores):
    jobs = yaml_of("gitlab-ci.yml")[0]
    check(set(jobs["stages"]) == {"test", "triage"} and jobs["triage"]["artifacts"]["reports"]["junit"] == "triage.xml", "the jobs")
    work = work_folder(folder, cores, "abort")
    ran = run(["sh", "-e", "-c", "\n".join(jobs["triage"]["script"])], cwd=work, env=environment(CORES=os.path.join(work, "cores"), CI_PROJECT_DIR=os.path.dirname(cores["abort"])))
    check(ran.returncode == 1, "exit %d: %s" % (ran.returncode, said(ran)))
    with open(os.path.join(work, jobs["triage"]["artifacts"]["reports"]["codequality"])) as f:
        entries = json.load(f)
    check([e["location"]["path"] for e in entries if e["severity"] == "critical"] == ["service.py"], "code quality: %s" % entries)


PYTESTS = {
    "hangs": ("import time\ndef test_slow():\n    time.sleep(4)\n", ["--pygc-hang", "1"], 0, "hang-*.txt", ["test_slow has run for", "test_slow()", "collector"]),
    "crashes": ("import ctypes\ndef test_before():\n    pass\ndef test_null():\n    ctypes.string_at(0)\n", [], None, "crash-*.txt", ["the process ended in", "test_null", "SIGSEGV", "string_at()"]),
    "ends beside the core of another process": ("import os, subprocess, sys\ndef test_end():\n    subprocess.call([sys.executable, '-c', 'import os; os.abort()'])\n    assert os.path.exists('core') or "
                                                "any(n.startswith('core') for n in os.listdir())\n    os._exit(3)\n", [], 3, "crash-*.txt", ["the process ended in", "test_end", "No core of process"]),
    "leaks": ("import gc\ndef test_stuck():\n    gc.garbage.append([])\n", ["--pygc-leaks"], 1, "leaks.txt", ["can never be freed", "gc.garbage"]),
    "is clean": ("def test_nothing():\n    pass\n", ["--pygc-leaks", "--pygc-hang", "60"], 0, "leaks.txt", ["exact"]),
    "fails by itself": ("def test_bad():\n    assert False\n", [], 1, None, []),
}


def pytest_plugin(folder, text, options, status, report, words):
    if subprocess.run([sys.executable, "-m", "pytest", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0:
        raise process.CannotTest("pytest is not installed")
    with open("/proc/sys/kernel/core_pattern") as f:
        if report and report.startswith("crash") and f.read(1) in "|/":
            raise process.CannotTest("kernel.core_pattern is no plain name")
    work = tempfile.mkdtemp(dir=folder)
    with open(os.path.join(work, "test_it.py"), "w") as f:
        f.write(text)
    ran = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "-p", "pytest_pygc"] + options, cwd=work, env=environment(PYTHONPATH=CI))
    check(status is None and ran.returncode < 0 or ran.returncode == status, "exit %d, not %s: %s" % (ran.returncode, status, said(ran)))
    import glob
    import time
    reports = os.path.join(work, "pygc-reports")
    end = time.time() + 60
    while report and not glob.glob(os.path.join(reports, report)) and time.time() < end:    # after a crash the watcher writes
        time.sleep(0.2)
    time.sleep(0.2)
    found = sorted(os.listdir(reports))
    check(len(found) == (1 if report else 0), "reports: %s; %s" % (found, said(ran)))
    if report:
        with open(os.path.join(reports, found[0])) as f:
            wrote = f.read()
        check(all(word in wrote for word in words), "%s: %s" % (found[0], wrote[:600]))
        check(status != 1 or "pygc: objects that can never be freed" in ran.stdout.decode(), "the summary: %s" % said(ran))


def systemd(folder, cores):
    """The units are whole, and the command of the service does what its description says."""
    work = work_folder(folder, cores, "abort", "nothing")
    units = os.path.join(work, "units")
    os.mkdir(units)
    for name in os.listdir(os.path.join(CI, "systemd")):
        with open(os.path.join(CI, "systemd", name)) as f:
            text = f.read()
        with open(os.path.join(units, name), "w") as f:
            f.write(text.replace("/usr/bin/pygc-triage", triage.SCRIPT))
        if name.endswith(".service"):
            command = re.search(r"^ExecStart=(.*)$", text, re.M).group(1)
            good = {0} | {int(n) for n in re.search(r"^SuccessExitStatus=(.*)$", text, re.M).group(1).split()}
    state = os.path.join(work, "state")
    os.mkdir(state)
    ran = run(command.replace("/usr/bin/pygc-triage", triage.SCRIPT).replace("/var/lib/systemd/coredump", os.path.join(work, "cores")).replace("/var/lib/pygc", state).split())
    check(ran.returncode in good and sorted(os.listdir(state)) == ["triage.html", "triage.jsonl"], "exit %d: %s" % (ran.returncode, said(ran)))
    if shutil.which("systemd-analyze"):
        ran = run(["systemd-analyze", "verify", "--man=no"] + [os.path.join(units, n) for n in sorted(os.listdir(units))])
        complaints = [line for line in ran.stderr.decode().splitlines() if "pygc-triage" in line]
        check(not complaints, "systemd-analyze: %s" % complaints[:3])


FAKE_RCLONE = """#!/bin/sh
# rclone over folders: "store:NAME" is $BUCKETS/NAME.
at() { printf '%s' "$BUCKETS/${1#store:}"; }
case $1 in
  lsf) cd "$(at "$4")" && find . -type f | sed 's|^[.]/||' ;;
  copyto)
    case $2 in store:*) from=$(at "$2") ;; *) from=$2 ;; esac
    case $3 in store:*) to=$(at "$3") ;; *) to=$3 ;; esac
    case $from in *vanishes*) rm -f "$from" ;; esac
    mkdir -p "${to%/*}" && cp "$from" "$to" ;;
esac
"""


def kubernetes(folder, cores):
    work = tempfile.mkdtemp(dir=folder)
    bucket = os.path.join(work, "buckets", "crash-cores")
    os.makedirs(os.path.join(bucket, "host a"))
    objects = ["core.%d" % i for i in range(7)] + ["host a/core 8", "host a/core.vanishes", "no-core.txt"]
    for name in objects:
        shutil.copy(cores["abort" if not name.endswith("txt") else "sleep"], os.path.join(bucket, name))
    with open(os.path.join(work, "rclone"), "w") as f:
        f.write(FAKE_RCLONE)
    os.chmod(os.path.join(work, "rclone"), 0o755)
    job = next(d for d in yaml_of("kubernetes", "job.yaml") if d["kind"] == "Job")
    container = job["spec"]["template"]["spec"]["containers"][0]
    variables = {e["name"]: e["value"] for e in container["env"]}
    check(int(variables["SHARDS"]) == job["spec"]["completions"] and job["spec"]["completionMode"] == "Indexed", "completions and SHARDS")
    for shard in range(3):
        scratch = os.path.join(work, "scratch%d" % shard)
        os.mkdir(scratch)
        more = environment(BUCKETS=os.path.join(work, "buckets"), SOURCE=variables["SOURCE"], RESULTS=variables["RESULTS"], JOB_COMPLETION_INDEX=str(shard), SHARDS="3", WORK=scratch)
        more["PATH"] = work + os.pathsep + more["PATH"]
        ran = run(["sh", os.path.join(CI, "kubernetes", "fan-out.sh")], env=more)
        check(ran.returncode == 0, "shard %d: exit %d: %s" % (shard, ran.returncode, said(ran)))
        check(not os.listdir(os.path.join(scratch, "core")), "a core was left behind")
    states = {}
    for at, _, names in os.walk(os.path.join(work, "buckets", "crash-reports")):
        for name in names:
            with open(os.path.join(at, name)) as f:
                rows = [json.loads(line) for line in f]
            check(len(rows) == 1, "%s: %d rows" % (name, len(rows)))
            states[os.path.relpath(os.path.join(at, name), os.path.join(work, "buckets", "crash-reports"))[:-len(".jsonl")]] = rows[0]["status"]
    check(sorted(states) == sorted(objects), "reports: %s" % sorted(states))
    check(states["host a/core.vanishes"] == "gone" and states["no-core.txt"] == "not-analysable" and states["host a/core 8"] == "analysed", "states: %s" % states)
    if shutil.which("kubectl"):
        ran = run(["kubectl", "kustomize", os.path.join(CI, "kubernetes")])
        check(ran.returncode == 0 and b"kind: ConfigMap" in ran.stdout and b"kind: Job" in ran.stdout, "kubectl kustomize: %s" % said(ran))


def main():
    verbose = sys.argv[1:] == ["-v"]
    if sys.argv[1:] and not verbose:
        print(__doc__)
        return 0 if sys.argv[1] in ("-h", "--help") else 2
    counts = {"passed": 0, "FAILED": 0, "skipped": 0}
    folder = tempfile.mkdtemp(prefix="pygc-templates-")

    def attempt(name, function, *how):
        try:
            function(*how)
            state, why = "passed", ""
        except process.CannotTest as e:
            state, why = "skipped", str(e)
        except (Wrong, OSError, ValueError, KeyError, StopIteration, subprocess.TimeoutExpired) as e:
            state, why = "FAILED", "%s: %s" % (type(e).__name__, str(e)[:700])
        counts[state] += 1
        if verbose or state != "passed":
            print("%s  %s%s" % (state, name, ": " + why if why else ""))

    try:
        cores = {"abort": triage.kernel_core(folder, sys.executable, "abort", "tree"), "nothing": triage.kernel_core(folder, sys.executable, "stopped", "nothing"), "sleep": triage.sleep_core(folder)}
        for name, function in (("GitHub Actions", github), ("GitLab CI", gitlab), ("systemd", systemd), ("Kubernetes", kubernetes)):
            attempt(name, function, folder, cores)
        for name, row in PYTESTS.items():
            attempt("pytest: a run that " + name, pytest_plugin, folder, *row)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("%d passed, %d failed, %d skipped" % (counts["passed"], counts["FAILED"], counts["skipped"]))
    return 1 if counts["FAILED"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
