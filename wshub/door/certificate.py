"""The certificate of the hub's own TLS ports: read at the start, and again whenever the hub is told to reload.

Connections keep the context that they began with. So a new certificate concerns new connections alone, and a file that
is wrong concerns nobody: what was there before stays in use.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from zope.interface import implementer

from wshub.errors import ConfigError

try:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from twisted.internet.ssl import CertificateOptions, TLSVersion
    from twisted.protocols.tls import TLSMemoryBIOFactory
except ImportError:  # without the extra `tls`
    HAS_TLS = False
else:
    HAS_TLS = True


def make_certificate(chain: Path, key: Path) -> "Certificate":
    """The certificate, read once. Raise `ConfigError`, one sentence on the file that is wrong."""
    if not HAS_TLS:
        raise ConfigError("tls_cert needs an extra: pip install 'wshub[tls]'")
    certificate = Certificate(chain, key)
    certificate.load()
    return certificate


@implementer(IOpenSSLServerConnectionCreator)
class Certificate:
    """What makes the server's side of TLS connections, from two PEM files (RFC 7468).

    `chain` has the hub's own certificate and then those of who has signed it, as ``fullchain.pem`` does; `key` has the
    private key without a passphrase.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain = chain
        self._key = key
        self._options: CertificateOptions | None = None
        self.expiry = 0.0
        """Until when it is valid, in seconds of Unix time."""
        self._log = Logger(namespace="wshub")

    def load(self) -> str:
        """Read the files, and use them for new connections; return whose certificate it is and until when.

        Raise `ConfigError` and change nothing if they cannot be used.
        """
        chain, key = read_chain(self._chain), read_key(self._key)
        own = chain[0]
        if own.public_key() != key.public_key():
            belongs = any(each.public_key() == key.public_key() for each in chain)
            raise ConfigError(
                f"tls_cert: the certificate that {self._key} belongs to has to be the first in {self._chain}"
                if belongs
                else f"tls_key: {self._key} is not the key of the certificate in {self._chain}"
            )
        # Twisted hands these on to pyOpenSSL, which takes those of `cryptography`; its own types are deprecated.
        options = CertificateOptions(
            privateKey=key,
            certificate=own,
            extraCertChain=chain[1:],
            raiseMinimumTo=TLSVersion.TLSv1_2,
        )
        try:
            options.getContext()
        except MemoryError:  # of cffi, on which pyOpenSSL is: it makes its callbacks as it runs
            raise ConfigError(
                "tls_cert: TLS here needs memory that is written and then executed, which the system forbids: "
                "under systemd, take MemoryDenyWriteExecute=yes out of the unit"
            ) from None
        except Exception as error:  # OpenSSL's own policy, such as the size of keys
            raise ConfigError(f"tls_cert: OpenSSL does not take {self._chain}: {error}") from None
        self._options, self.expiry = options, own.not_valid_after_utc.timestamp()
        described = describe(own)
        if own.not_valid_after_utc < datetime.now(UTC):
            self._log.warn("the certificate in {file} has expired: {described}", file=self._chain, described=described)
        return described

    def reload(self) -> None:
        """Read the files again, and say in the log what has come of it."""
        try:
            described = self.load()
        except ConfigError as error:
            self._log.error("the certificate stays as it was: {error}", error=error)
        else:
            self._log.info("new connections get the certificate {described}", described=described)

    def serverConnectionForTLS(self, protocol: Any) -> Any:
        """Called by Twisted for each connection: the server's side of its TLS."""
        assert self._options
        return self._options.serverConnectionForTLS(protocol)

    def wrap(self, factory: Any, reactor: Any) -> Any:
        """A factory whose connections begin with TLS, and go on as `factory`'s."""
        creator: Any = self  # what the decorator says, which mypy does not see
        secure = TLSMemoryBIOFactory(creator, False, factory, reactor)
        secure.noisy = False
        return secure


def read_chain(file: Path) -> list[Any]:
    """The certificates in a file, one at least. Raise `ConfigError`."""
    data = read("tls_cert", file)
    try:
        chain = x509.load_pem_x509_certificates(data)
        for each in chain:
            each.public_key()
        return chain
    except Exception:  # ValueError, or a key of a kind that it does not support
        raise ConfigError(f"tls_cert: {file} has no certificate in PEM format, or a damaged one") from None


def read_key(file: Path) -> Any:
    """The private key in a file. Raise `ConfigError`."""
    data = read("tls_key", file)
    try:
        return load_pem_private_key(data, None)
    except TypeError:
        raise ConfigError(f"tls_key: {file} is locked with a passphrase: write the key without one") from None
    except Exception:  # ValueError, or an algorithm that it does not support
        raise ConfigError(f"tls_key: {file} has no private key in PEM format, or a damaged one") from None


def read(setting: str, file: Path) -> bytes:
    """What is in a file. Raise `ConfigError`."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{setting}: {file} cannot be read: {error.strerror}") from None


def describe(certificate: "x509.Certificate") -> str:
    """Whose it is, and until when it is valid."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        whose = ", ".join(str(each.value) for each in names)
    except Exception:  # it has none, or one of a kind that nobody reads
        whose = certificate.subject.rfc4514_string()
    return f"of {whose}, valid until {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
