"""Attacks of a hostile tenant, a viewer, an operator, guests and strangers, all at the same time.

Each runs in threads of its own until the end, and counts how often it was made. What is refused before anything is done is counted
apart: so attacks come in the worst form that the daemon still works on, beside the forms that it refuses at once.
"""
import base64
import contextlib
import functools
import glob
import gzip
import json
import os
import random
import re
import socket
import ssl
import sys
import threading
import time

from . import images

# Tenants who do not trust one another have hosts of their own (SECURITY.md).
HOST = "sim:hostile"
# A simulated host writes all it has, consoles too, at each change. Guests that print have one for themselves: what others of
# their host do would cost the daemon more than a real host does.
PRINTING_HOST = "sim:hostile-printing"
IMAGE = "http://images.lab.test:8080/debian-12.qcow2"
HEAD = "apiVersion: vsiflow.io/v1\nkind: "
PATTERN_VSIS = 4
# As many images as the lanes of so many hosts read at once.
SLOW_HOSTS, SLOW_IMAGES = 10, 16
PACKED_HOSTS, PACKED_IMAGES = 2, 10
# A VSI whose guest prints, and whose document matches nothing of it.
TALKER = "talker"
# What these attacks read is what guests print.
NEED_TALKER = ["repeated names", "followers"]
# The longest text of a document (docs/reference/kubernetes.md).
LONGEST_TEXT = 512 << 10
ACCEPTED = b"HTTP/1.1 200"
# After so many seconds a command that was accepted is worked on.
WORKED_ON = 1
# What is said of a text of a guest that is wrong.
WRONG_TEXT = "VSI0604"
# The exit codes of commands that did nothing: of a wrong command line, and for what is not there.
DID_NOTHING = (2, 3)
STRANGERS = [f"127.0.0.{number}" for number in range(2, 6)]


def vsi(name, namespace, memory="512Mi", image=IMAGE, more=""):
    return (f"{HEAD}VirtualServer\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  imageURL: {image}\n"
            f"  guest: {{type: none}}\n  machine: {{cpus: 1, memory: {memory}}}\n{more}")


def costly_patterns(first):
    """Sixteen patterns that need a large automaton for any text of zeros and ones."""
    probes = [f"{{console: '[01]*1[01]{{{first + number}}}z'}}" for number in range(16)]
    return f"  ready: {{within: 20h, all: [{', '.join(probes)}]}}\n"


def hanging_group():
    """A group whose gate runs a command in members whose agents never answer."""
    spec = (f"{{imageURL: '{IMAGE}', guest: {{type: cloudInit, userData: \"#cloud-config\\n# lab-hang\\n{{}}\\n\"}}, "
            "machine: {cpus: 1, memory: 512Mi}}")
    return (f"{HEAD}VirtualServerGroup\nmetadata: {{name: silent, namespace: hostile}}\nspec:\n  waves:\n  - name: first\n"
            "    gate: {probes: [{agentCommand: {path: /bin/true}}]}\n    pools:\n    - name: p\n      replicas: 8\n"
            f"      template: {{spec: {spec}}}\n")


def nested_references(length):
    text = "$(" * (length // 2)
    template = f"{{spec: {{imageURL: '{IMAGE}', guest: {{type: cloudInit, networkConfig: '{text}'}}}}}}"
    return (f"{HEAD}VirtualServerGroup\nmetadata: {{name: deep, namespace: hostile}}\nspec:\n  waves:\n  - name: first\n"
            f"    members:\n    - name: m\n      template: {template}\n")


def packed_message(parts=16, levels=3):
    """User-data of some kilobytes: messages in messages, whose parts are packed texts of a megabyte."""
    text = b"#cloud-config\nruncmd:\n" + b"- x\n" * 90_000
    packed = base64.b64encode(gzip.compress(text, 9)).decode()
    part = f"Content-Type: application/gzip\nContent-Transfer-Encoding: base64\n\n{packed}\n"
    for level in range(levels):
        repeated = f"--b{level}\n{part}" * parts
        part = f'Content-Type: multipart/mixed; boundary="b{level}"\n\n{repeated}--b{level}--\n'
    message = gzip.compress(f"MIME-Version: 1.0\n{part}".encode(), 9)
    return (f"apiVersion: v1\nkind: Secret\nmetadata: {{name: packed, namespace: hostile}}\n"
            f"data: {{userData: {base64.b64encode(message).decode()}}}\n---\n"
            f"{HEAD}VirtualServer\nmetadata: {{name: packed, namespace: hostile}}\nspec:\n  imageURL: {IMAGE}\n"
            "  guest: {type: cloudInit, userDataFrom: {secretKeyRef: {name: packed, key: userData}}}\n"
            "  machine: {cpus: 1, memory: 512Mi}\n")


def quoted_digits(count):
    words = ",".join(f"'10:0:{number // 60}:{number % 60}'" for number in range(count))
    text = json.dumps(f"version: 2\nethernets:\n  e0:\n    addresses: [{words}]\n")
    return (f"{HEAD}VirtualServer\nmetadata: {{name: digits, namespace: hostile}}\nspec:\n  imageURL: {IMAGE}\n"
            f"  guest: {{type: cloudInit, networkConfig: {text}}}\n  machine: {{cpus: 1, memory: 512Mi}}\n")


def costly_contract(variables=4_000):
    """A contract with very many wrong variables. Each is another one, because what was found is remembered."""
    names = "".join(f"        {number}-{random.randrange(1 << 40)}: 1\n" for number in range(variables))
    text = f"workload: x\nenv: |\n    type: env\n    env:\n{names}"
    return (f"apiVersion: hpse.ibm.com/v1\nkind: HyperProtectContainerRuntimeOnPrem\n"
            f"metadata: {{name: contract, namespace: hostile}}\nspec:\n  imageURL: {IMAGE}\n"
            f"  contract: {json.dumps(text)}\n  storagePool: images\n  targetSelector: {{matchLabels: {{}}}}\n")


def print_random_bits(state, expected):
    """Writes 1,000 lines of 1,000 random bits to the console of every guest, as a guest may, while no daemon runs."""
    bits, printed = random.Random(1), 0
    for path in glob.glob(state + "/sim/*/state.json"):
        with open(path) as file:
            host = json.load(file)
        for domain in host["domains"].values():
            lines = (domain.get("live") or {}).get("lines")
            if not lines:
                continue
            moment = lines[-1][0] + 1
            printed += 1
            lines.extend([moment, "".join(bits.choice("01") for _ in range(1000))] for _ in range(1000))
        with open(path, "w") as file:
            json.dump(host, file)
    if printed < expected:
        sys.exit(f"only {printed} guests print")


class Attacks:
    """The attacks, or those with these names, while it is entered."""

    def __init__(self, server, names=()):
        self.names = set(names)
        self.server, self.ended, self.threads, self.counted, self.refusals = server, threading.Event(), [], {}, {}
        self.lock = threading.Lock()
        self.images = images.HostileImages()
        host, port = server.listen.rsplit(":", 1)
        self.address = (host, int(port))
        self.tls = ssl.create_default_context()
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE

    def __enter__(self):
        begin = {
            "silent gates": lambda: self.server.apply(HOST, hanging_group(), may_fail=True),
            "archives of 64 GiB": lambda: self.server.apply(HOST, vsi("bomb", "hostile", image=self.images.url)),
            "images that hardly come": self.begin_slow_images,
            "packed images": self.begin_packed_images,
        }
        unknown = self.names - set(NAMES)
        if unknown:
            sys.exit(f"these attacks are unknown: {', '.join(unknown)}")
        # The daemon starts again for them.
        self.begin_printing()
        for name, start in begin.items():
            if self.is_made(name):
                start()
        for name, attack, times in ATTACKS:
            if not self.is_made(name):
                continue
            self.counted[name] = self.refusals[name] = 0
            for _ in range(times):
                thread = threading.Thread(target=self.repeat, args=(name, functools.partial(attack, self)), daemon=True)
                self.threads.append(thread)
                thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join(timeout=30)
        self.images.close()

    def counts(self):
        with self.lock:
            return dict(self.counted)

    def count(self, name, times=1):
        with self.lock:
            self.counted[name] += times

    def refused(self):
        with self.lock:
            return dict(self.refusals)

    def refuse(self, name):
        """Counts a refusal; the attacker tries again soon."""
        with self.lock:
            self.refusals[name] += 1
        self.ended.wait(0.2)

    def repeat(self, name, attack):
        # Attackers have machines of their own: what they compute must not take the daemon's processor time.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while not self.ended.is_set():
            try:
                attack()
            except OSError:
                # The daemon closes the connection in the middle of a request: that is its answer.
                self.refuse(name)

    def is_made(self, name):
        return not self.names or name in self.names

    def begin_slow_images(self):
        for host in range(SLOW_HOSTS):
            numbers = range(host * SLOW_IMAGES, (host + 1) * SLOW_IMAGES)
            documents = [vsi(f"slow-{number}", "hostile", image=self.images.slow(number)) for number in numbers]
            self.server.apply(f"sim:hostile-{host}", "---\n".join(documents), may_fail=True)

    def begin_packed_images(self):
        """Images that need much memory to unpack, and whose last bytes hardly come."""
        for host in range(PACKED_HOSTS):
            numbers = range(host * PACKED_IMAGES, (host + 1) * PACKED_IMAGES)
            documents = [vsi(f"packed-{number}", "hostile", image=self.images.packed(number)) for number in numbers]
            self.server.apply(f"sim:hostile-packed-{host}", "---\n".join(documents), may_fail=True)

    def begin_printing(self):
        """VSIs whose guests print random bits, after the daemon starts again; their patterns are matched then."""
        has_patterns = self.is_made("guests that print")
        printing = 0
        if has_patterns:
            documents = [vsi(f"bits-{number}", "hostile", more=costly_patterns(701 + 16 * number)) for number in range(PATTERN_VSIS)]
            self.server.apply(PRINTING_HOST, "---\n".join(documents), may_fail=True)
            self.server.until_booting("hostile", PATTERN_VSIS)
            printing += PATTERN_VSIS
        if any(self.is_made(name) for name in NEED_TALKER):
            self.server.apply(PRINTING_HOST, vsi(TALKER, "hostile"), "--wait")
            printing += 1
        if printing:
            self.server.restart(lambda state: print_random_bits(state, printing))

    # ---- requests ----

    def connection(self, source=None):
        plain = socket.create_connection(self.address, timeout=60, source_address=source and (source, 0))
        return self.tls.wrap_socket(plain)

    def posted(self, role, path, body):
        body = json.dumps(body).encode()
        head = (f"POST {path} HTTP/1.1\r\nHost: {self.server.listen}\r\nAuthorization: Bearer {self.server.tokens[role]}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n")
        return head.encode() + body

    def command(self, role, args, files=()):
        return self.posted(role, "/v1/commands", {"args": ["vsiflow", *args], "files": [
            {"name": name, "content": base64.b64encode(content.encode()).decode()} for name, content in files
        ], "directory": None})

    def send(self, name, role, args, files=()):
        """Sends a command, and counts it."""
        self.exchange(name, self.command(role, args, files))

    def request(self, name, role, path, body):
        """Sends a request of the service, and counts it."""
        self.exchange(name, self.posted(role, path, body))

    def exchange(self, name, request):
        """Sends a request, reads the answer to its end, and counts it: as made once it is worked on for a while, or if it did
        something."""
        with self.connection() as stream:
            stream.sendall(request)
            begun, head, end, is_counted = time.monotonic(), b"", b"", False
            stream.settimeout(WORKED_ON)
            while not self.ended.is_set():
                try:
                    piece = stream.recv(65536)
                except TimeoutError:
                    piece = None
                if not is_counted and head.startswith(ACCEPTED) and time.monotonic() - begun > WORKED_ON:
                    self.count(name)
                    is_counted = True
                if piece is None:
                    continue
                if not piece:
                    break
                head, end = head or piece, (end + piece)[-200:]
        if is_counted or self.ended.is_set():
            return
        exit_code = re.search(rb'\{"exit":(\d+)\}', end)
        is_command = b"/v1/commands " in request[:64]
        has_done = not is_command or (exit_code and int(exit_code.group(1)) not in DID_NOTHING)
        if head.startswith(ACCEPTED) and has_done:
            self.count(name)
        else:
            self.refuse(name)

    def plan(self, name, document):
        """Plans a document through the owner's socket, which has no narrow limit of its length, as a cluster's operator reads it."""
        done = self.server.ask("--host", HOST, "plan", "-f", "-", text=document)
        # A text was read to its end before it is found wrong.
        was_judged = WRONG_TEXT in done.stderr
        if done.returncode in DID_NOTHING and not was_judged:
            self.refuse(name)
        else:
            self.count(name)

    # ---- attacks ----

    def lists(self):
        """Whole objects of all namespaces, as often as a viewer may."""
        self.request("whole lists", "viewer", "/v1/table", {"kind": "vsi", "query": {"objects": True}})

    def path_lists(self):
        """The same by the paths that generated clients use."""
        kind = random.choice(["virtualservers", "disks", "virtualserversnapshots", "virtualserverpools"])
        head = (f"GET /v1/{kind} HTTP/1.1\r\nHost: {self.server.listen}\r\n"
                f"Authorization: Bearer {self.server.tokens['viewer']}\r\nConnection: close\r\n\r\n")
        self.exchange("lists by path", head.encode())

    def contracts(self):
        """Changes of a VSI whose contract takes long to check, one after another."""
        done = self.server.ask("--host", HOST, "apply", "-f", "-", text=costly_contract())
        if done.returncode in DID_NOTHING:
            self.refuse("costly contracts")
        else:
            self.count("costly contracts")

    def references(self):
        for length in (1_400_000, LONGEST_TEXT - 2):
            self.plan("nested references", nested_references(length))

    def verifications(self):
        self.request("verifications", "viewer", "/v1/audit/verify", {})

    def bodies(self):
        """40 MiB of an operator, which are refused, and 10 MiB of an administrator."""
        self.large_body("operator", 40 << 20)
        self.large_body("admin", 10 << 20)

    def large_body(self, role, length):
        files = [("large.yaml", vsi("large", "hostile") + "# " + "x" * length)]
        with contextlib.suppress(OSError):
            self.send("large bodies", role, ["--host", HOST, "plan", "-f", "large.yaml"], files)
            return
        self.refuse("large bodies")

    def user_data(self):
        self.plan("packed user-data", packed_message())

    def digits(self):
        self.plan("quoted digits", quoted_digits(20_000))

    def names_again(self):
        # As many as fit into the body of a viewer.
        names = [TALKER] * 6000
        self.request("repeated names", "viewer", "/v1/table", {"kind": "vsi", "query": {"namespace": "hostile", "names": names}})

    def earlier(self):
        offset = str(random.randrange(1, 200))
        self.request("earlier states", "viewer", "/v1/table", {"kind": "vsi", "query": {"objects": True}, "at": offset})

    def followers(self):
        """60 followed histories of a viewer, for some seconds."""
        with contextlib.ExitStack() as stack:
            for _ in range(60):
                if self.ended.is_set():
                    break
                stream = stack.enter_context(self.connection())
                stream.sendall(
                    f"GET /v1/namespaces/hostile/virtualservers/{TALKER}/history?follow=true HTTP/1.1\r\n"
                    f"Host: {self.server.listen}\r\nAuthorization: Bearer {self.server.tokens['viewer']}\r\n\r\n".encode())
                self.count("followers")
            self.ended.wait(5)

    def unread(self):
        """66 answers of a viewer that nobody reads, for some seconds."""
        with contextlib.ExitStack() as stack:
            for _ in range(66):
                if self.ended.is_set():
                    break
                stream = stack.enter_context(self.connection())
                stream.sendall(self.posted("viewer", "/v1/history", {}))
                self.count("unread answers")
            self.ended.wait(5)

    def strangers(self):
        """Connections from four addresses that hold their places with a wrong token, for some seconds."""
        request = (f"GET /v1/hosts HTTP/1.1\r\nHost: {self.server.listen}\r\nAuthorization: Bearer nothing\r\n\r\n").encode()
        with contextlib.ExitStack() as stack:
            for number in range(256):
                if self.ended.is_set():
                    break
                with contextlib.suppress(OSError):
                    stream = stack.enter_context(self.connection(STRANGERS[number % len(STRANGERS)]))
                    stream.sendall(request)
                    self.count("strangers")
            self.ended.wait(2)

    def seen(self, name, number):
        """Counts what the daemon asked an attacker's server for."""
        with self.lock:
            self.counted[name] = number()
        self.ended.wait(0.5)

    def state_of(self, name, kind, object_name):
        """Counts that an object which attacks only by being there exists."""
        shown = self.server.run("get", kind, object_name, "-n", "hostile", may_fail=True)
        if object_name in shown:
            self.count(name)
        self.ended.wait(1)


# Each attack: its name, one time of it, and how many threads make it.
ATTACKS = [
    ("whole lists", Attacks.lists, 4), ("lists by path", Attacks.path_lists, 4), ("costly contracts", Attacks.contracts, 2),
    ("nested references", Attacks.references, 2), ("verifications", Attacks.verifications, 4),
    ("large bodies", Attacks.bodies, 1), ("unread answers", Attacks.unread, 1), ("strangers", Attacks.strangers, 1),
    ("packed user-data", Attacks.user_data, 2), ("quoted digits", Attacks.digits, 2),
    ("repeated names", Attacks.names_again, 4), ("earlier states", Attacks.earlier, 4), ("followers", Attacks.followers, 1),
    ("archives of 64 GiB", lambda made: made.seen("archives of 64 GiB", lambda: made.images.asked), 1),
    ("images that hardly come", lambda made: made.seen("images that hardly come", lambda: made.images.asked_slowly), 1),
    ("packed images", lambda made: made.seen("packed images", lambda: made.images.asked_packed), 1),
    ("guests that print", lambda made: made.state_of("guests that print", "vsi", "bits-0"), 1),
    ("silent gates", lambda made: made.state_of("silent gates", "group", "silent"), 1),
]
NAMES = [name for name, _, _ in ATTACKS]
