"""Runs of nine durable steps that do nothing, through DBOS.

load.py URL CONCURRENCY SECONDS: so many callers, each starting its next run when the last has ended.

A step's time is from the beginning of its body to that of the next one, so that what is recorded between them counts.
"""

import sys
import threading
import time
import uuid

from dbos import DBOS, DBOSConfig

STEPS = 9

url, concurrency, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
# One connection for each caller, so that none waits for another.
config: DBOSConfig = {
    "name": "bench",
    "system_database_url": url,
    "sys_db_pool_size": concurrency + 4,
    "log_level": "ERROR",
}
DBOS(config=config)


@DBOS.step()
def step(number: int, began: list[float]) -> dict[str, int]:
    began.append(time.perf_counter())
    return {"done": number}


@DBOS.workflow()
def provision(name: str) -> str:
    began: list[float] = []
    for number in range(STEPS):
        step(number, began)
    passed.extend(later - sooner for sooner, later in zip(began, began[1:]))
    return name


passed: list[float] = []
runs: list[float] = []
errors: list[BaseException] = []


def caller(until: float) -> None:
    try:
        while time.perf_counter() < until:
            start = time.perf_counter()
            provision(str(uuid.uuid4()))
            runs.append(time.perf_counter() - start)
    except BaseException as error:  # Nothing else reports the end of a thread.
        errors.append(error)


def share(values: list[float], of: float) -> float:
    values.sort()
    return 1000 * values[min(len(values) - 1, int(len(values) * of))]


DBOS.launch()
try:
    # Warm up before the measurement.
    provision("warm")
    passed.clear()
    start = time.perf_counter()
    callers = [threading.Thread(target=caller, args=(start + seconds,)) for _ in range(concurrency)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    elapsed = time.perf_counter() - start
finally:
    DBOS.destroy()
if errors:
    raise errors[0]
rate = len(runs) * STEPS / elapsed
print(
    f"dbos concurrency={concurrency} steps/s={rate:.0f} step p50={share(passed, 0.5):.2f}ms"
    f" p99={share(passed, 0.99):.2f}ms run p99={share(runs, 0.99):.1f}ms"
)
