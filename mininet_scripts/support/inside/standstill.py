"""Watch one processor: print when it stood still, in nanoseconds of the monotonic clock.

Arguments: processor, least standstill in ns.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress

NAP_S = 0.0005


def watch(cpu: int, least_ns: int) -> None:
    """Sleep for half a millisecond over and over, and print since when and until when a sleep was late."""
    os.sched_setaffinity(0, {cpu})
    print("watching", flush=True)
    before = time.monotonic_ns()
    while True:
        time.sleep(NAP_S)
        now = time.monotonic_ns()
        if now - before > least_ns:
            print(f"{before} {now}", flush=True)
        before = now


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        watch(int(sys.argv[1]), int(sys.argv[2]))
