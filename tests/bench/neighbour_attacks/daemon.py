"""A daemon on a simulated host, with the memory of the chart."""
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request

LIMIT_MIB = 512
PATIENCE = 60
GROUPS = "/sys/fs/cgroup"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class MemoryGroup:
    """A control group with the chart's limit; none where this user may make none."""

    def __init__(self):
        version_1 = os.path.isdir(GROUPS + "/memory")
        parent, limit = (GROUPS + "/memory", "memory.limit_in_bytes") if version_1 else (GROUPS, "memory.max")
        self.path = f"{parent}/vsiflow-neighbours-{os.getpid()}"
        try:
            os.mkdir(self.path)
            with open(f"{self.path}/{limit}", "w") as file:
                file.write(str(LIMIT_MIB << 20))
        except OSError as error:
            print(f"the daemon's memory is not limited: {error}", file=sys.stderr)
            self.remove()
            self.path = None

    def enter(self):
        """Puts this process into the group, if there is one."""
        if self.path:
            with open(self.path + "/cgroup.procs", "w") as file:
                file.write(str(os.getpid()))

    def remove(self):
        if self.path and os.path.isdir(self.path):
            os.rmdir(self.path)


class Daemon:
    """`vsiflow serve` with its socket, a TLS listener for holders of tokens, and the port of `/healthz`."""

    def __init__(self, binary, folder):
        self.binary, self.folder, self.state = binary, folder, folder + "/state"
        self.listen, self.metrics = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.group = MemoryGroup()
        self.is_limited = self.group.path is not None
        self.process, self.peak_before = None, 0

    def __enter__(self):
        try:
            self.start()
            self.tokens = {role: self.token(role) for role in ("viewer", "operator", "admin")}
        except BaseException:
            self.end()
            raise
        return self

    def start(self):
        words = ["--state", self.state, "serve", "--listen", self.listen]
        self.log = open(self.folder + "/log", "ab")
        self.process = subprocess.Popen(
            [self.binary, *words, "--metrics-address", self.metrics], preexec_fn=self.group.enter,
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=dict(os.environ, NO_COLOR="1"))
        ends = time.monotonic() + PATIENCE
        # Without a daemon a command would work on the state directory itself.
        while not (self.is_healthy() and self.is_listening()):
            if time.monotonic() > ends or self.process.poll() is not None:
                sys.exit("the daemon does not answer: " + self.last_words())
            time.sleep(0.05)

    def is_healthy(self):
        try:
            with urllib.request.urlopen(f"http://{self.metrics}/healthz", timeout=5):
                return True
        except OSError:
            return False

    def is_listening(self):
        host, port = self.listen.rsplit(":", 1)
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
            return True
        return False

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=PATIENCE)
        self.log.close()

    def restart(self, meanwhile):
        """Starts again, after `meanwhile` has had the state directory."""
        self.peak_before = max(self.peak_before, self.peak_mib())
        self.stop()
        meanwhile(self.state)
        self.start()

    def until_booting(self, namespace, count):
        ends = time.monotonic() + PATIENCE
        while True:
            listed = json.loads(self.run("get", "vsi", "-n", namespace, "-o", "json"))
            items = listed.get("items", [listed])
            phases = [item["status"]["phase"] for item in items]
            if sum(phase == "Booting" for phase in phases) >= count:
                return
            if time.monotonic() > ends:
                sys.exit(f"the guests of {namespace} do not run: {phases}")
            time.sleep(0.1)

    def __exit__(self, failed, *_):
        died = self.process.poll()
        self.end()
        if died is not None and not failed:
            sys.exit(f"the daemon ended with {died}: " + self.last_words())

    def end(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.log.close()
        self.group.remove()

    def last_words(self):
        with open(self.folder + "/log", errors="replace") as file:
            return file.read()[-2000:]

    def words(self, *words):
        return [self.binary, "--state", self.state, *words]

    def ask(self, *words, text=None):
        """Runs a command as the owner of the state directory."""
        return subprocess.run(self.words(*words), input=text, capture_output=True, text=True, timeout=600)

    def run(self, *words, text=None, may_fail=False):
        done = self.ask(*words, text=text)
        if done.returncode != 0 and not may_fail:
            sys.exit(f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}\n{self.last_words()}")
        return done.stdout

    def apply(self, host, text, *words, may_fail=False):
        return self.run("--host", host, "apply", "-f", "-", *words, text=text, may_fail=may_fail)

    def token(self, role):
        return self.run("token", "create", "--role", role, "--ttl", "1h").strip().splitlines()[-1]

    def peak_mib(self):
        """The most memory that the daemon has had."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return max(int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1)) / 1024, self.peak_before)
