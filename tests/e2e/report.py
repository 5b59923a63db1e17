#!/usr/bin/env python3
"""`pygc report`: the page of a process full of hostile names, as text and in headless Chromium.

usage: report.py [--interpreter TEXT]... [--screenshots DIR]

Renders, answers to clicks and keys, searches; no console error, no request, no dialog; names stay text; readable without scripts. A page that is
made bad on purpose must be found bad. Chromium is spoken to through its debugging pipe. Last line: N passed, N failed, N skipped.
"""
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "lib"))
import interpreters  # noqa: E402
import process  # noqa: E402
from chromium import Browser, Wrong, check  # noqa: E402

MOST_BYTES = 5000000


def make_page(folder, interpreter):
    child = subprocess.Popen([interpreter, os.path.join(HERE, "report", "hostile.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")})
    path = os.path.join(folder, "report.html")
    try:
        if not child.stdout.readline().startswith(b"READY"):
            raise process.CannotTest("hostile.py did not start under " + interpreter)
        ran = process.pygc("-p", child.pid, "report", "-o", path)
        check(ran.code == 0, "exit %s: %s" % (ran.code, ran.tail()))
        for arguments, status in ((["report"], 2), (["report", "-o", os.path.join(folder, "no", "page.html")], 2)):
            ran = process.pygc("-p", child.pid, *arguments)
            check(ran.code == status and not os.path.exists(os.path.join(folder, "no")), "%s: exit %s" % (arguments, ran.code))
        truth = json.loads(process.pygc("-p", child.pid, "leaks", "--format", "json", "--limit", "100").out)["result"]
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
    return path, truth


def as_text(path, truth):
    """The file by itself: one page, no address of anything else, no markup of the process, the data of `pygc leaks` in it."""
    with open(path, encoding="utf-8") as f:
        page = f.read()
    check(len(page) < MOST_BYTES, "%d bytes" % len(page))
    check("<img" not in page and page.count("<script") == 2 and page.count("</script") == 2 and "\x1b" not in page, "markup of the process is in the page")
    body = page[:page.index('<script type="application/json"')]
    links = re.findall(r'(?:src|href|action|data|poster)\s*=\s*"([^"]*)"', body)
    check(links and all(link.startswith("#") for link in links), "links: %s" % links)
    check("url(" not in body and "@import" not in body, "the style asks for something")
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S).group(1))
    check(data["schema"] == "pygc.report/1" and data["result"]["leaks"]["groups"] == truth["groups"], "the page has other leaks than `pygc leaks`")
    nodes = data["result"]["memory"]["nodes"]
    for i, n in enumerate(nodes):
        check(n["parent"] is None or n["parent"] < i and n["retained"] <= nodes[n["parent"]]["retained"], "node %d and its parent" % i)
    sums = {}
    for n in nodes:
        sums[n["parent"]] = sums.get(n["parent"], 0) + n["retained"]
    check(all(total <= (data["result"]["memory"]["bytes"] if parent is None else nodes[parent]["retained"]) for parent, total in sums.items()), "parts are more than the whole")


def without_scripts(browser, path):
    browser.open(path, scripts=False)
    text = browser.text()
    for part in ("Leaks", "Who holds the memory", "Types", "Python stacks", "Completeness", "Ring0", "&lt;img src=x onerror=alert(1)&gt;", "wait until gc.collect() is called"):
        check(part in text, "without scripts %r is not there" % part)


def in_browser(browser, path, screenshots):
    browser.open(path)
    check(browser.value("document.documentElement.dataset.ready") == "1", "the script did not come to its end")
    check(browser.value("document.querySelectorAll('img, iframe, object, b, a:not([href^=\"#\"])').length") == 0, "elements that are not the page's own")
    check(browser.value("document.querySelectorAll('.node').length") >= 2, "no cycle is drawn")
    before = browser.value("document.querySelector('.node.chosen').textContent")
    browser.value("document.querySelectorAll('.node')[1].dispatchEvent(new MouseEvent('click', {bubbles: true}))")
    check(browser.value("document.querySelectorAll('.node.chosen').length === 1 && document.querySelectorAll('.node')[1].classList.contains('chosen')"), "a click chooses no object")
    browser.value("document.querySelectorAll('.node')[1].focus()")
    browser.key("ArrowRight", 39)
    check(browser.value("document.activeElement === document.querySelector('.node.chosen') && !document.querySelectorAll('.node')[1].classList.contains('chosen')"), "arrow keys do not move along the cycle")
    check("0x" in browser.value("document.querySelector('.facts').textContent") and before, "the object's facts are not shown")
    view = "document.querySelector('[data-group] svg > g').getAttribute('transform')"
    browser.value("document.querySelector('[aria-label=\"zoom in\"]').click()")
    time.sleep(0.5)
    check("scale(1.4)" in (browser.value(view) or ""), "zooming: %s" % browser.value(view))
    browser.value("document.querySelectorAll('details')[1].open = true")
    time.sleep(0.3)
    check(browser.value("document.querySelectorAll('details')[1].querySelectorAll('.node').length") >= 1, "a group that is opened is not drawn")
    pieces = browser.value("document.querySelectorAll('#map .piece').length")
    check(pieces > 5, "%d pieces of the treemap" % pieces)
    browser.value("[...document.querySelectorAll('#map .piece')].find((p) => p.getAttribute('aria-label').startsWith('dict')).focus()")
    browser.key("Enter", 13)
    check(browser.value("document.querySelectorAll('.crumbs button').length") >= 2, "Enter does not go into the treemap")
    browser.value("document.querySelector('#map .piece').focus()")
    browser.key("Escape", 27)
    check(browser.value("document.querySelectorAll('.crumbs button').length") == 1, "Escape does not go up")
    for key, code, wanted in (("ArrowRight", 39, 1), ("ArrowDown", 40, 2), ("ArrowLeft", 37, 1), ("End", 35, -1), ("ArrowRight", 39, -1), ("Home", 36, 0), ("ArrowUp", 38, 0)):
        browser.key(key, code)
        at = browser.value("[[...document.querySelectorAll('#map .piece')].indexOf(document.activeElement), document.querySelectorAll('#map .piece').length]")
        check(at[0] == wanted % at[1], "%s leads to piece %d of %d" % (key, at[0], at[1]))
    check(browser.value("document.querySelectorAll('#map .piece[tabindex=\"0\"]').length") == 1, "the Tab key stops at each piece of the treemap")
    browser.value("document.getElementById('kind').click()")
    check(browser.value("document.querySelectorAll('#map path.fill').length") > 5, "no sunburst")
    browser.value("document.getElementById('kind').click()")
    browser.value("const s = document.getElementById('search'); s.value = 'RING1'; s.dispatchEvent(new Event('input'))")
    left = browser.value("[...document.querySelectorAll('#types tbody tr')].filter((r) => !r.hidden).map((r) => r.cells[0].textContent)")
    check(left and all("ring1" in t.lower() for t in left), "search: %s" % left)
    browser.value("document.querySelectorAll('#types th button')[1].click()")
    counts = browser.value("[...document.querySelectorAll('#types tbody tr')].map((r) => Number(r.cells[1].dataset.n))")
    check(counts == sorted(counts, reverse=True) and len(set(counts)) > 3, "sorting by number")
    dark = "getComputedStyle(document.body).backgroundColor"
    first = browser.value(dark)
    browser.value("document.getElementById('theme').click()")
    check(browser.value(dark) != first, "the theme does not change")
    browser.value("document.getElementById('theme').click()")
    check(browser.value("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the window")
    browser.call("Emulation.setDeviceMetricsOverride", width=380, height=800, deviceScaleFactor=1, mobile=False)
    check(browser.value("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than a narrow window")
    wrong = browser.complaints(path)
    check(not wrong, "; ".join(wrong[:3]))
    if screenshots:
        browser.value("document.querySelector('[aria-label=\"as at first\"]').click(); delete document.documentElement.dataset.theme; scrollTo(0, 0)")
        time.sleep(0.5)
        for name, width, height, is_dark in (("light", 1200, 1600, False), ("dark", 1200, 1600, True), ("narrow", 380, 1600, False)):
            browser.screenshot(os.path.join(screenshots, name + ".png"), width, height, is_dark)


MISLEADING = "/[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f]/"


def drawn_names(browser, path):
    """What would turn a name around, or hide in it, is written out in drawings too, as it is in the text."""
    browser.open(path)
    browser.value("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    time.sleep(0.5)
    shown = "[...document.querySelectorAll('svg text, svg title, dd, .crumbs, [aria-label]')].map((e) => e.textContent + '|' + (e.getAttribute('aria-label') || ''))"
    wrong = browser.value(shown + ".filter((t) => %s.test(t))" % MISLEADING)
    check(not wrong, "%d texts mislead: %r" % (len(wrong), wrong[:2]))
    labels = browser.value("[...document.querySelectorAll('svg .label')].map((e) => e.textContent)")
    check(any("\\u202ex\\u200b\\x1b" in t for t in labels), "the name is not among the labels: %s" % labels[:40])


def narrow(browser, path):
    """On a narrow screen the drawings are as large as on a wide one: a text of 11 or 12 px is drawn no smaller than 10."""
    browser.call("Emulation.setDeviceMetricsOverride", width=380, height=800, deviceScaleFactor=1, mobile=False)
    browser.open(path)
    for kind in ("Treemap", "Sunburst"):
        sizes = browser.value("[...document.querySelectorAll('[data-group] svg, #map svg')].map((s) => s.getBoundingClientRect().width / s.viewBox.baseVal.width)")
        check(len(sizes) >= 2 and min(sizes) > 0.9, "%s: drawn at %s of their size" % (kind, sizes))
        inside = browser.value("[...document.querySelectorAll('#map .piece, .node circle')].every((e) => { const r = e.getBoundingClientRect(), s = e.closest('svg').getBoundingClientRect(); return r.left > s.left - 2 && r.right < s.right + 2; })")
        check(inside, kind + ": parts lie outside of the drawing")
        browser.value("document.getElementById('kind').click()")
    check(browser.value("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than a narrow window")
    browser.call("Emulation.clearDeviceMetricsOverride")


def printed(browser, path):
    """On paper: dark on white whatever the theme, every group open and drawn; afterwards the page is as it was."""
    browser.open(path)
    state = "JSON.stringify([...document.querySelectorAll('details')].map((d) => d.open))"
    before = browser.value(state)
    check("false" in before, "no group is closed: nothing is tested")
    browser.value("document.documentElement.dataset.theme = 'dark'; window.paper = null;"
                  "addEventListener('beforeprint', () => { window.paper = [...document.querySelectorAll('details')].every((d) => d.open) && "
                  "[...document.querySelectorAll('[data-group]')].every((g) => g.querySelector('svg')); })")
    check(base64.b64decode(browser.call("Page.printToPDF")["data"])[:5] == b"%PDF-", "no PDF")
    check(browser.value("window.paper") is True, "groups are closed, or not drawn, on paper")
    check(browser.value(state) == before, "groups stay open after printing")
    browser.call("Emulation.setEmulatedMedia", media="print")
    light = browser.value("['color', 'backgroundColor'].map((k) => getComputedStyle(document.body)[k].match(/\\d+/g).reduce((a, b) => a + Number(b), 0))")
    browser.call("Emulation.setEmulatedMedia", media="")
    check(light[0] < 200 and light[1] > 700, "printed light on dark: %s" % light)


def bad_pages(browser, path, folder):
    """The test sees what it looks for: a script that runs is refused by the page's policy, which the console tells; so is a request."""
    with open(path, encoding="utf-8") as f:
        page = f.read()
    for name, harm in (("script", "<script>document.title = 'x'</script>"), ("request", "<img src='http://127.0.0.1:9/x.png'>"), ("handler", "<p onclick='1'>")):
        bad = os.path.join(folder, name + ".html")
        with open(bad, "w", encoding="utf-8") as f:
            f.write(page.replace("<main>", "<main>" + harm))
        browser.open(bad)
        check(browser.complaints(bad), "a page with %s was taken for good" % harm)


def sources():
    """The page's own script writes no markup; the embedded one is what its hash says."""
    import hashlib
    folder = os.path.join(process.ROOT, "core", "report", "page")
    with open(os.path.join(folder, "page.js"), encoding="utf-8") as f:
        source = f.read()
    for word in ("innerHTML =", "outerHTML", "insertAdjacentHTML", "document.write", ".html(", "eval(", "fetch(", "XMLHttpRequest", "localStorage"):
        check(word not in source, "page.js uses " + word)
    with open(os.path.join(folder, "page.min.js"), "rb") as f:
        script = f.read()
    with open(os.path.join(folder, "page.min.js.sha256")) as f:
        check(f.read() == base64.b64encode(hashlib.sha256(script).digest()).decode(), "page.min.js is not what page.min.js.sha256 says: npm run build")
    check(b"</script" not in script and b"<!--" not in script, "page.min.js cannot stand in a page")


def main():
    arguments, names, screenshots = sys.argv[1:], [], None
    while arguments:
        if len(arguments) < 2 or arguments[0] not in ("--interpreter", "--screenshots"):
            print(__doc__)
            return 0 if arguments[0] in ("-h", "--help") else 2
        if arguments[0] == "--interpreter":
            names.append(arguments[1])
        else:
            screenshots = arguments[1]
        arguments = arguments[2:]
    names = names or ["2.7", "3.12"]
    found, seen = [], set()
    for i in interpreters.discover():
        wanted = next((n for n in names if i.version.startswith(n)), None)
        if i.kind == "default" and wanted and wanted not in seen:
            seen.add(wanted)
            found.append(i)
    passed = failed = skipped = 0
    folder = tempfile.mkdtemp(prefix="pygc-report-")

    def attempt(name, function, *how):
        nonlocal passed, failed
        try:
            result = function(*how)
            passed += 1
            return result
        except (Wrong, process.CannotTest, OSError, ValueError, KeyError, AttributeError) as e:
            failed += 1
            print("FAILED  %s: %s: %s" % (name, type(e).__name__, str(e)[:500]))

    browser = None
    try:
        attempt("sources", sources)
        try:
            browser = Browser(folder)
        except process.CannotTest as e:
            print("skipped: %s" % e)
            skipped = 6 * len(found)
        for i in found:
            work = os.path.join(folder, i.version)
            os.mkdir(work)
            made = attempt(i.version + ": the page", make_page, work, i.path)
            if not made:
                continue
            attempt(i.version + ": as text", as_text, *made)
            if browser:
                attempt(i.version + ": in Chromium", in_browser, browser, made[0], screenshots)
                attempt(i.version + ": names in drawings", drawn_names, browser, made[0])
                attempt(i.version + ": narrow", narrow, browser, made[0])
                attempt(i.version + ": printed", printed, browser, made[0])
                attempt(i.version + ": without scripts", without_scripts, browser, made[0])
                attempt(i.version + ": bad pages are found bad", bad_pages, browser, made[0], work)
    finally:
        if browser:
            browser.close()
        shutil.rmtree(folder, ignore_errors=True)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
