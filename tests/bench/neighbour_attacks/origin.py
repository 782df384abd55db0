"""Serves images of the honest tenant until its standard input ends; prints its address first.

usage: origin.py MIB

A process of its own, so that no attacker of this benchmark takes its processor time. Each path is another image of this
length: a qcow2 whose header is followed by random bytes.
"""
import contextlib
import os
import random
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VIRTUAL_SIZE = 2 << 30
HEADER = struct.pack(">4sI12xIQ", b"QFI\xfb", 3, 16, VIRTUAL_SIZE).ljust(96, b"\0") + struct.pack(">II8x", 4, 104)


class Origin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    content = b""

    def do_HEAD(self):
        self.begin()

    def do_GET(self):
        self.begin()
        # The daemon asks for the length first, and ends that answer.
        with contextlib.suppress(ConnectionError):
            self.wfile.write(HEADER + self.path.encode().ljust(256, b"\0") + self.content)

    def begin(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("ETag", f'"{self.path}"')
        self.send_header("Content-Length", str(len(HEADER) + 256 + len(self.content)))
        self.end_headers()

    def log_message(self, *_):
        pass


def main(mib):
    Origin.content = random.Random(1).randbytes(mib << 20)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


main(int(sys.argv[1]))
