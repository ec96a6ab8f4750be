"""Sends back whatever comes over any number of TCP connections: tcp_echo.py ADDRESS PORT."""

import socket
import socketserver
import sys


class Echo(socketserver.BaseRequestHandler):
    """One connection."""

    def handle(self) -> None:
        """Send back what comes until the other side ends or resets."""
        try:
            while data := self.request.recv(65536):
                self.request.sendall(data)
        except ConnectionError:
            pass


class Server(socketserver.ThreadingTCPServer):
    """Listens on IPv4 or IPv6, as the address says."""

    allow_reuse_address = True
    daemon_threads = True


def main(address: str, port: int) -> None:
    """Print "ready" when listening, then serve until ended from outside."""
    Server.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with Server((address, port), Echo) as server:
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    try:
        main(sys.argv[1], int(sys.argv[2]))
    except KeyboardInterrupt:
        sys.exit(0)
