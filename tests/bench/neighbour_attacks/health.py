"""Asks for `/healthz` until its standard input ends, then prints how long each answer took, in milliseconds, as JSON.

usage: health.py HOST:PORT

A process of its own, so that it waits for the daemon alone. Each question has a new connection, as a kubelet's.
"""
import json
import sys
import threading
import time
import urllib.request


def main(address):
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    took_ms = []
    while not ended.wait(0.02):
        begun = time.monotonic()
        try:
            with urllib.request.urlopen(f"http://{address}/healthz", timeout=30) as answer:
                answer.read()
        except OSError as error:
            print(f"/healthz: {error}", file=sys.stderr)
        took_ms.append((time.monotonic() - begun) * 1000)
    print(json.dumps(took_ms))


main(sys.argv[1])
