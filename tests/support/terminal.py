"""A program on a terminal of its own, as a user has it."""
import os
import pty
import re
import select
import signal
import time

PATIENCE = 60   # seconds


class Terminal:
    def __init__(self, argv, env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(argv[0], argv, env)
        self.text = ""

    def wait_for(self, pattern, seconds=PATIENCE):
        """All that was said since send(), once it matches. AssertionError where that takes longer, or the program ends."""
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            if time.monotonic() > end:
                raise AssertionError("no %r within %d s in: %s" % (pattern, seconds, self.text[-1500:]))
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.text += os.read(self.fd, 65536).decode("utf-8", "replace")
                except OSError:
                    raise AssertionError("the program ended: " + self.text[-1500:])
        return self.text

    def send(self, text):
        self.text = ""
        os.write(self.fd, text.encode())

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)
