"""Certificates such as an authority gives them, made with the command ``openssl``."""

import select
import shutil
import ssl
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
MAY_SIGN = "critical,keyCertSign,cRLSign"  # RFC 5280, section 4.2.1.3; from 3.13 on Python asks for it


def run_openssl(*arguments: str) -> None:
    """Run the command."""
    assert shutil.which("openssl"), "there is no openssl here: install the package openssl"
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def take_tickets(connection: ssl.SSLSocket) -> None:
    """Read what a server of TLS 1.3 sends when the handshake is over (RFC 8446, section 4.6.1): its session tickets.

    To be called before one thread reads and another writes. Before 3.13 Python's `ssl` has no lock for that, and what
    is written while OpenSSL deals with a ticket may be lost.
    """
    patience = 2.0  # seconds; they come within a millisecond
    connection.setblocking(False)
    while connection.version() == "TLSv1.3" and select.select([connection], [], [], patience)[0]:
        with suppress(ssl.SSLWantReadError):
            connection.recv(1)
        patience = 0.05
    connection.setblocking(True)


@dataclass
class Authority:
    """A root, which clients know, and an intermediate one, which signs, in a folder."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.root = self.folder / "root.pem"
        run_openssl(
            *("req", "-x509", *EC, "-days", "2", "-subj", "/CN=a root", "-addext", f"keyUsage={MAY_SIGN}"),
            *("-keyout", str(self.folder / "root.key"), "-out", str(self.root)),
        )
        self._sign(
            "intermediate", "/CN=an intermediate", "root", f"basicConstraints=critical,CA:TRUE\nkeyUsage={MAY_SIGN}"
        )

    def issue(self, name: str) -> tuple[Path, Path]:
        """A certificate with its chain, and its key: two files with the name `name`."""
        self._sign(name, f"/CN={name}", "intermediate", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        chain = self.folder / f"{name}.chain.pem"
        chain.write_bytes(b"".join((self.folder / f"{each}.pem").read_bytes() for each in (name, "intermediate")))
        return chain, self.folder / f"{name}.key"

    def _sign(self, name: str, subject: str, by: str, extension: str) -> None:
        file = self.folder / name
        file.with_suffix(".ext").write_text(f"{extension}\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n")
        run_openssl("req", *EC, "-subj", subject, "-keyout", f"{file}.key", "-out", f"{file}.csr")
        run_openssl(
            *("x509", "-req", "-days", "2", "-in", f"{file}.csr", "-extfile", f"{file}.ext", "-out", f"{file}.pem"),
            *("-CA", f"{self.folder / by}.pem", "-CAkey", f"{self.folder / by}.key", "-CAcreateserial"),
        )
