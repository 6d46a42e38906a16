"""The certificate: which files are taken, and what is said of those that are not."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtensionOID, NameOID
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock

from wshub.door import certificate
from wshub.door.certificate import make_certificate
from wshub.errors import ConfigError

NOW = datetime.now(UTC)
EC, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))


def make_pem(key, name="hub.example.org", days=10, names=True):
    """A certificate that its own key has signed."""
    whose = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(whose).issuer_name(whose).serial_number(1)
    builder = builder.public_key(key.public_key())
    builder = builder.not_valid_before(NOW - timedelta(days=20)).not_valid_after(NOW + timedelta(days=days))
    if isinstance(names, x509.ExtensionType):
        builder = builder.add_extension(names, critical=False)
    elif names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name), x509.DNSName(f"www.{name}")])
        builder = builder.add_extension(alternatives, critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM)


def make_key_pem(key, encryption=None):
    """A private key."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


CERT, KEY = make_pem(EC), make_key_pem(EC)


@pytest.fixture
def write(tmp_path):
    """Writes the two files, and returns their paths."""

    def write_files(chain=CERT, key=KEY):
        paths = Path(tmp_path / "cert.pem"), Path(tmp_path / "key.pem")
        for path, data in zip(paths, (chain, key), strict=True):
            path.write_bytes(data)
        return paths

    return write_files


@pytest.mark.parametrize(
    "key",
    [EC, ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)],
    ids=lambda key: type(key).__name__,
)
def test_kinds_of_keys(write, key, log):
    """The usual kinds are taken, a chain and comments beside the certificate too, and nothing is said of it."""
    made = make_certificate(*write(b"a comment\n" + make_pem(key) + make_pem(OTHER, "authority"), make_key_pem(key)))
    assert made.load().startswith("of hub.example.org, www.hub.example.org, valid until ")
    assert log == []


def test_a_certificate_with_one_name(write):
    """One without alternative names is described by its subject."""
    assert make_certificate(*write(make_pem(EC, names=False))).load().startswith("of CN=hub.example.org, valid until")


def test_names_of_a_kind_that_nobody_reads(write):
    """An X.400 address: it is described by its subject, and served as any other."""
    names = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex("3004a3023000"))
    assert make_certificate(*write(make_pem(EC, names=names))).load().startswith("of CN=hub.example.org, valid until")


MISTAKES = {
    "no certificate": (KEY, KEY, r"^tls_cert: .*cert\.pem has no certificate in PEM format, or a damaged one$"),
    "damaged": (CERT[:200] + CERT[210:], KEY, r"^tls_cert: .*cert\.pem has no certificate in PEM format"),
    "empty": (b"", KEY, r"^tls_cert: .*cert\.pem has no certificate"),
    "no key": (CERT, CERT, r"^tls_key: .*key\.pem has no private key in PEM format, or a damaged one$"),
    "passphrase": (CERT, make_key_pem(EC, BestAvailableEncryption(b"x")), r"^tls_key: .*locked with a passphrase"),
    "another key": (CERT, make_key_pem(OTHER), r"^tls_key: .*key\.pem is not the key of the certificate in .*cert"),
    "wrong order": (make_pem(OTHER) + CERT, KEY, r"^tls_cert: the certificate that .*key\.pem belongs to has to be t"),
}


@pytest.mark.parametrize(("chain", "key", "said"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes(write, chain, key, said):
    """Each mistake is one sentence that names the file."""
    with pytest.raises(ConfigError, match=said):
        make_certificate(*write(chain, key))


@pytest.mark.parametrize(("number", "setting"), [(0, "tls_cert"), (1, "tls_key")])
def test_missing_files(write, number, setting):
    """A file that is not there is named, with the setting."""
    paths = write()
    paths[number].unlink()
    with pytest.raises(ConfigError, match=rf"^{setting}: {paths[number]} cannot be read: No such file or directory$"):
        make_certificate(*paths)


def test_without_the_extra(write, monkeypatch):
    """Without the libraries for TLS it is said which extra has them."""
    monkeypatch.setattr(certificate, "HAS_TLS", False)
    with pytest.raises(ConfigError, match=r"^tls_cert needs an extra: pip install 'wshub\[tls\]'$"):
        make_certificate(*write())


def test_weak_keys(write):
    """What OpenSSL's own policy is against is a mistake too, not a traceback."""
    weak = rsa.generate_private_key(65537, 1024)
    with pytest.raises(ConfigError, match=r"^tls_cert: OpenSSL does not take .*ee key too small"):
        make_certificate(*write(make_pem(weak), make_key_pem(weak)))


def test_expired(write, log):
    """It is served nevertheless, and the log says so."""
    make_certificate(*write(make_pem(EC, days=-1)))
    assert len(log) == 1
    assert "#warn] the certificate in " in log[0]
    assert "has expired: of hub.example.org" in log[0]


def test_reload(write, log):
    """New files are for new connections; wrong ones are one line, and change nothing."""
    paths = write()
    made = make_certificate(*paths)
    connection = made.wrap(Factory.forProtocol(Protocol), Clock()).buildProtocol(None)
    first = made.serverConnectionForTLS(connection).get_context()
    assert made.serverConnectionForTLS(connection).get_context() is first
    write(make_pem(EC, "new.example.org"))
    made.reload()
    assert "#info] new connections get the certificate of new.example.org" in log[-1]
    second = made.serverConnectionForTLS(connection).get_context()
    assert second is not first
    write(key=make_key_pem(OTHER))
    made.reload()
    assert "#error] the certificate stays as it was: tls_key: " in log[-1]
    assert made.serverConnectionForTLS(connection).get_context() is second
    assert len(log) == 2


CONFINED = """
import ctypes, sys
from pathlib import Path
from wshub.door.certificate import make_certificate
from wshub.errors import ConfigError

if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN
    sys.exit("no such thing")
try:
    make_certificate(Path(sys.argv[1]), Path(sys.argv[2]))
except ConfigError as error:
    print(error)
"""


def test_memory_that_may_not_be_executed(write):
    """What systemd's MemoryDenyWriteExecute= forbids, pyOpenSSL needs: if so, one sentence says what to do."""
    command = [sys.executable, "-c", CONFINED, *map(str, write())]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if ended.stderr == "no such thing\n":
        pytest.skip("this kernel cannot forbid it to a process: it is older than 6.3")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert not ended.stdout or "MemoryDenyWriteExecute=yes" in ended.stdout
