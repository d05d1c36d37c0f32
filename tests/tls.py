"""A certificate that nobody knows, and TLS in front of a server that speaks none."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def certificate_in(folder: Path, name: str = "IP:127.0.0.1") -> tuple[Path, Path]:
    """Files of a certificate for `name` and of its key, signed by no authority that the system knows."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run([*command, "-addext", f"subjectAltName={name}", *files], check=True, capture_output=True)
    return folder / "certificate.pem", folder / "key.pem"


@contextmanager
def tls_before(port: int, certificate: Path, key: Path, clients: Path | None = None) -> Iterator[int]:
    """A port that takes TLS off and hands on to `port`, both of this machine; `clients`: who may call."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    listener = socket.create_server(("127.0.0.1", 0))

    def hand_on(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def accept() -> None:
        while True:
            try:
                inner = context.wrap_socket(listener.accept()[0], server_side=True)
            except ssl.SSLError:
                continue  # a client that does not trust this certificate
            except OSError:
                return
            outer = socket.create_connection(("127.0.0.1", port))
            for pair in ((inner, outer), (outer, inner)):
                threading.Thread(target=hand_on, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()
