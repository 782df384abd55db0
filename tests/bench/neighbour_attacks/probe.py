"""Asks a daemon the same question until its standard input ends, then prints as JSON how long each answer took, in milliseconds
(`took_ms`), and how many questions had none (`failures`).

usage: probe.py health HOST:PORT
       TOKEN=… probe.py list HOST:PORT NAMESPACE

`health` asks for `/healthz`, `list` lists the VSIs of a namespace with the token over TLS. A process of its own, so that it waits for the daemon
alone. Each question has a new connection, as a kubelet's, and the next one follows after a pause: the probe must not take the
processor time that it measures. A handshake of TLS alone takes Python 30 ms of it.
"""
import http.client
import json
import os
import ssl
import sys
import threading
import time

TIMEOUT = 30
# The pause between two questions, in seconds.
PAUSES = {"health": 0.02, "list": 0.25}


def ask_health(address):
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT)
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    answer.read()
    return answer.status == 200


def ask_list(address, namespace):
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(address, timeout=TIMEOUT, context=tls)
    body = json.dumps({"kind": "vsi", "query": {"namespace": namespace}})
    headers = {"Authorization": f"Bearer {os.environ['TOKEN']}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/table", body, headers)
    answer = connection.getresponse()
    return answer.status == 200 and "rows" in json.loads(answer.read())["table"]


def main(kind, address, *words):
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    took_ms, failures = [], 0
    while not ended.wait(PAUSES[kind]):
        begun = time.monotonic()
        try:
            is_answered = ask_health(address) if kind == "health" else ask_list(address, *words)
        except (OSError, http.client.HTTPException) as error:
            print(f"{kind}: {error}", file=sys.stderr)
            is_answered = False
        failures += not is_answered
        took_ms.append((time.monotonic() - begun) * 1000)
    print(json.dumps({"took_ms": took_ms, "failures": failures}))


main(*sys.argv[1:])
