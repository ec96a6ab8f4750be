"""Sends numbered UDP packets and prints those that come, over one socket: udp_talk.py ADDRESS PORT OWN_PORT RATE WAITS.

Prints "ready", then number and arrival in ns of every packet, until ended from outside.
SIGUSR1 ends its sending; it prints "sent" and how many, and goes on listening.
WAITS 1 sends nothing before the first packet has come.
"""

import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress


class Talk:
    """One side of a conversation."""

    def __init__(self, address: str, port: int, own_port: int, rate_pps: float, waits: bool) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._socket.bind(("", own_port))
        self._socket.connect((address, port))
        self._rate_pps = rate_pps
        self._sending = not waits
        self._sent = 0
        self._begin_s = time.monotonic()
        self._done = False
        signal.signal(signal.SIGUSR1, self._stop_sending)

    def _stop_sending(self, *_: object) -> None:
        self._done = True

    def run(self) -> None:
        """Talk, then listen."""
        print("ready", flush=True)
        while not self._done:
            ahead_s = self._begin_s + self._sent / self._rate_pps - time.monotonic() if self._sending else 0.05
            if self._heard(max(0.0, ahead_s)) and not self._sending:
                self._sending, self._begin_s = True, time.monotonic()
            elif self._sending and self._begin_s + self._sent / self._rate_pps <= time.monotonic():
                with suppress(ConnectionRefusedError):
                    self._socket.send(struct.pack("!Q", self._sent).ljust(64, b"\0"))
                self._sent += 1
        print(f"sent {self._sent}", flush=True)
        while True:
            self._heard(1.0)

    def _heard(self, timeout_s: float) -> bool:
        """Return whether a packet came in time; print it."""
        if not select.select([self._socket], [], [], timeout_s)[0]:
            return False
        with suppress(ConnectionRefusedError):
            payload = self._socket.recv(65536)
            print(struct.unpack_from("!Q", payload)[0], time.monotonic_ns(), flush=True)
        return True


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        Talk(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5] == "1").run()
