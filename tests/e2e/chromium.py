"""Chromium without a window, spoken to through its debugging pipe; and its developer tools, which it carries with it."""
import base64
import json
import os
import select
import shutil
import subprocess
import time

import process


class Wrong(Exception):
    pass


def check(good, what):
    if not good:
        raise Wrong(what)


class Browser:
    """One page at a time, with everything that it says and asks for. `arguments`: more of Chromium's own."""

    def __init__(self, folder, arguments=()):
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if not program:
            raise process.CannotTest("no chromium here")
        to_child, from_us = os.pipe()
        to_us, from_child = os.pipe()

        def place():    # Chromium reads descriptor 3 and writes 4
            a, b = os.dup(to_child), os.dup(from_child)
            os.dup2(a, 3)
            os.dup2(b, 4)
        self.child = subprocess.Popen([program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-pipe",
                                       "--user-data-dir=" + os.path.join(folder, "profile")] + list(arguments) + ["about:blank"],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=place, close_fds=False)
        os.close(to_child)
        os.close(from_child)
        self.out, self.back, self.rest, self.number, self.events = from_us, to_us, b"", 0, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = None
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def message(self, seconds=60):
        end = time.time() + seconds
        while b"\0" not in self.rest:
            if not select.select([self.back], [], [], max(0, end - time.time()))[0]:
                raise Wrong("Chromium says nothing for %d s" % seconds)
            chunk = os.read(self.back, 1 << 20)
            if not chunk:
                raise process.CannotTest("Chromium ended")
            self.rest += chunk
        one, _, self.rest = self.rest.partition(b"\0")
        return json.loads(one)

    def call(self, method, **parameters):
        self.number += 1
        number = self.number
        request = {"id": number, "method": method, "params": parameters}
        if getattr(self, "session", None):
            request["sessionId"] = self.session
        os.write(self.out, json.dumps(request).encode() + b"\0")
        while True:
            m = self.message()
            if m.get("id") == number:
                check("error" not in m, "%s: %s" % (method, m.get("error")))
                return m["result"]
            self.events.append(m)
            if m.get("method") == "Page.javascriptDialogOpening":
                os.write(self.out, json.dumps({"id": 0, "method": "Page.handleJavaScriptDialog", "params": {"accept": False}, "sessionId": self.session}).encode() + b"\0")

    def open(self, path, scripts=True):
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.events = []
        self.call("Page.navigate", url="file://" + path)
        end = time.time() + 60
        while time.time() < end:
            if not scripts:
                time.sleep(1)
                return
            if self.value("document.documentElement && (document.documentElement.dataset.ready || (document.readyState === 'complete' ? 'no' : ''))"):
                break
            time.sleep(0.1)
        time.sleep(0.3)     # for what comes late

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        check("exceptionDetails" not in result, "%s: %s" % (expression[:80], result.get("exceptionDetails")))
        return result["result"].get("value")

    def text(self):
        root = self.call("DOM.getDocument", depth=0)["root"]["nodeId"]
        return self.call("DOM.getOuterHTML", nodeId=root)["outerHTML"]

    def key(self, name, code=0):
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, text="\r" if name == "Enter" and kind == "rawKeyDown" else "")

    def complaints(self, path):
        """Console errors, exceptions, dialogs, requests for anything but the page."""
        self.value("1")
        wrong = []
        for e in self.events:
            method, p = e.get("method"), e.get("params", {})
            if method == "Runtime.exceptionThrown":
                wrong.append("exception: %s" % p["exceptionDetails"].get("text"))
            elif method == "Runtime.consoleAPICalled" and p["type"] in ("error", "warning"):
                wrong.append("console: %s" % p["args"])
            elif method == "Log.entryAdded" and p["entry"]["level"] in ("error", "warning"):
                wrong.append("log: %s" % p["entry"]["text"])
            elif method == "Page.javascriptDialogOpening":
                wrong.append("a dialog: %s" % p["message"])
            elif method == "Network.requestWillBeSent" and p["request"]["url"] != "file://" + path:
                wrong.append("a request: %s" % p["request"]["url"])
        return wrong

    def screenshot(self, path, width, height, dark=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        time.sleep(0.3)
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def close(self):
        self.child.kill()
        self.child.wait()
        os.close(self.out)
        os.close(self.back)


# Elements of the page with those of shadow trees, which the developer tools are made of.
ALL = """(test) => { const out = []; const walk = (n) => { if (n.shadowRoot) walk(n.shadowRoot);
  for (const c of n.children || []) { if (test(c)) out.push(c); walk(c); } }; if (document.body) walk(document.body); return out; }"""

# Parses and works a snapshot out as the Memory panel does: by the classes of its worker.
ENGINE = """(async () => {
  const w = await import('/devtools/entrypoints/heap_snapshot_worker/heap_snapshot_worker.js');
  const problems = [];
  const loader = new w.HeapSnapshotLoader.HeapSnapshotLoader({sendEvent(name, data) { if (/broken/i.test(name)) problems.push(String(data)); }});
  for (const part of window.pygcParts) loader.write(part);
  loader.close();
  const channel = new MessageChannel();
  new w.HeapSnapshot.SecondaryInitManager(channel.port2);
  const s = await loader.buildSnapshot(channel.port1);
  return JSON.stringify({problems, nodes: s.nodeCount, total: s.totalSize, retained: Array.from(s.retainedSizes)});
})()"""


class DeveloperTools:
    """The developer tools of Chromium on an empty page."""

    def __init__(self, folder):
        self.browser = Browser(folder, ("--remote-debugging-port=0", "--remote-allow-origins=*"))
        try:
            self._open(os.path.join(folder, "profile", "DevToolsActivePort"))
        except BaseException:
            self.browser.close()
            raise

    def _open(self, port_file):
        self._until(lambda: os.path.exists(port_file) and os.path.getsize(port_file), "Chromium says no port")
        with open(port_file) as f:
            self.port = f.read().split()[0]
        session, self.browser.session = self.browser.session, None
        target = self.browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.browser.session = session
        self.browser.call("Page.bringToFront")      # a page in the background is not drawn
        self.browser.call("Emulation.setDeviceMetricsOverride", width=1300, height=800, deviceScaleFactor=1, mobile=False)
        self.browser.call("Page.navigate", url="http://127.0.0.1:%s/devtools/devtools_app.html?ws=127.0.0.1:%s/devtools/page/%s" % (self.port, self.port, target))

    def _until(self, done, what, seconds=60):
        end = time.time() + seconds
        while time.time() < end:
            result = done()
            if result:
                return result
            time.sleep(0.2)
        raise Wrong(what)

    def _click(self, test, what):
        def box():
            return self.browser.value("(%s)(%s).map(e => e.getBoundingClientRect()).filter(r => r.width > 0).map(r => [r.x + r.width / 2, r.y + r.height / 2])" % (ALL, test))
        x, y = self._until(box, "no %s in the developer tools" % what)[-1]
        for kind in ("mousePressed", "mouseReleased"):
            self.browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def engine(self, path):
        """{problems, nodes, total, retained: of each node in the file's order}: what the developer tools make of the file."""
        self.browser.value("window.pygcParts = []; 1")
        with open(path) as f:
            for part in iter(lambda: f.read(1 << 22), ""):
                self.browser.value("window.pygcParts.push(%s); 1" % json.dumps(part))
        ran = self.browser.call("Runtime.evaluate", expression=ENGINE, returnByValue=True, awaitPromise=True)
        check("exceptionDetails" not in ran, "the heap snapshot worker: %s" % ran.get("exceptionDetails"))
        return json.loads(ran["result"]["value"])

    def panel(self, path):
        """Loads the file in the Memory panel as a user does; the rows of its summary, each a list of cells."""
        name = os.path.basename(path).split(".")[0]
        self._click("e => e.getAttribute('role') === 'tab' && /Memory/.test(e.textContent)", "tab Memory")
        self.browser.call("Page.setInterceptFileChooserDialog", enabled=True)
        self.browser.events = []
        self._click("e => e.tagName === 'BUTTON' && /Load profile/.test(e.title + e.getAttribute('aria-label') + e.textContent)", "button Load profile")

        def chooser():
            self.browser.value("1")
            return [e["params"]["backendNodeId"] for e in self.browser.events if e.get("method") == "Page.fileChooserOpened"]
        self.browser.call("DOM.setFileInputFiles", files=[path], backendNodeId=self._until(chooser, "no question for a file")[0])

        def rows():     # the item is there before the file is read: it is chosen again until its rows are
            self._click("e => e.getAttribute('role') === 'treeitem' && e.textContent.trim().startsWith('Profiles')", "list of profiles")
            self._click("e => e.getAttribute('role') === 'treeitem' && e.textContent.trim().startsWith('%s')" % name, "profile %s" % name)
            time.sleep(0.5)
            return self.browser.value("(%s)(e => e.tagName === 'TR' && /\\d/.test(e.innerText)).map(e => Array.from(e.children).map(c => c.innerText.trim()))" % ALL)
        return self._until(rows, "the Memory panel shows nothing of %s" % name)

    def screenshot(self, path):
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.browser.call("Page.captureScreenshot")["data"]))

    def close(self):
        self.browser.close()
