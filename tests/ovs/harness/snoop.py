"""What a bridge and its controllers say to each other, counted by message type."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from pathlib import Path
from typing import Final

# OpenFlow 1.4.0, section 7.1.1.
HELLO: Final = 0
PACKET_IN: Final = 10
FLOW_MOD: Final = 14
MULTIPART_REQUEST: Final = 18
BUNDLE_ADD: Final = 34

_HEADER: Final = struct.Struct("!BBHI")
_HELLO: Final = _HEADER.pack(5, HELLO, 8, 1)


class Snoop:
    """A listener at a bridge's snoop socket, to which Open vSwitch copies each message as it sends or receives it."""

    def __init__(self, path: Path) -> None:
        """Begin to count; messages from before are not seen."""
        self._lock = threading.Lock()
        self._counts: Counter[int] = Counter()
        self._rest = b""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._socket.sendall(_HELLO)
        # The switch drops what a snooper does not take at once, so somebody always reads.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def count(self, kind: int) -> int:
        """Return how many messages of a type there have been, all that the switch has handled so far included."""
        with self._lock:
            self._take(socket.MSG_DONTWAIT)
            return self._counts[kind]

    def stop(self) -> None:
        """End the listener."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    def _read(self) -> None:
        """Wait for data outside the lock, take it inside."""
        while self._socket.recv(1, socket.MSG_PEEK):
            with self._lock:
                self._take(socket.MSG_DONTWAIT)

    def _take(self, flags: int) -> None:
        while True:
            try:
                data = self._socket.recv(1 << 20, flags)
            except BlockingIOError:
                return
            if not data:
                return
            self._rest += data
            at = 0
            while len(self._rest) - at >= _HEADER.size:
                _, kind, length, _ = _HEADER.unpack_from(self._rest, at)
                if len(self._rest) - at < length:
                    break
                self._counts[kind] += 1
                at += length
            self._rest = self._rest[at:]
