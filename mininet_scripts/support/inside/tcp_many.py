"""Holds many TCP connections open: tcp_many.py listen PORT, or tcp_many.py connect ADDRESS PORT COUNT AT_ONCE."""

import errno
import resource
import selectors
import signal
import socket
import sys
import time

# Standard streams, the selector, and what else Python may have open.
_OTHER_FILES = 64


def listen(port: int) -> None:
    """Print "ready" when listening, then accept all that comes and keep it."""
    kept = []
    with socket.create_server(("0.0.0.0", port), backlog=4096) as server:
        print("ready", flush=True)
        while True:
            kept.append(server.accept())


def connect(address: str, port: int, count: int, at_once: int) -> None:
    """Set connections up, so many under way at a time; print "connected" and the seconds it took, and hold them."""
    waiting, begun = selectors.DefaultSelector(), 0
    kept: list[socket.socket] = []
    began_s = time.monotonic()
    while len(kept) < count:
        while begun < count and len(waiting.get_map()) < at_once:
            one = socket.socket()
            one.setblocking(False)
            if one.connect_ex((address, port)) not in (0, errno.EINPROGRESS):
                sys.exit("a connection could not be begun")
            waiting.register(one, selectors.EVENT_WRITE, one)
            begun += 1
        for key, _ in waiting.select(10):
            done: socket.socket = key.data
            waiting.unregister(done)
            error = done.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                sys.exit(f"a connection failed: {errno.errorcode[error]}")
            kept.append(done)
    print(f"connected {time.monotonic() - began_s:.6f}", flush=True)
    signal.pause()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192 + _OTHER_FILES,) * 2)
    try:
        if sys.argv[1] == "listen":
            listen(int(sys.argv[2]))
        else:
            connect(sys.argv[2], *map(int, sys.argv[3:6]))
    except KeyboardInterrupt:
        sys.exit(0)
