"""Which pages may connect."""

import pytest

from wshub.door.origins import OriginPolicy
from wshub.errors import HandshakeError

HOST = "example.org:12345"


def is_allowed(origin, *patterns, host=HOST, scheme=None, require=False):
    """Whether a page may connect; what refuses it must be a 403."""
    policy, status = OriginPolicy(patterns, require), 101
    try:
        policy.check(origin, host, scheme)
    except HandshakeError as error:
        status = error.status
    assert status in (101, 403)
    return status == 101


@pytest.mark.parametrize(
    ("origin", "patterns"),
    [
        (None, ()),
        ("http://example.org:12345", ()),
        ("https://example.org:12345", ()),
        ("http://EXAMPLE.org:12345", ()),
        ("https://other.example", ("https://other.example",)),
        ("https://other.example:443", ("HTTPS://Other.example",)),
        ("https://other.example", ("https://first.example", "https://other.example")),
        ("https://a.other.example", ("https://*.other.example",)),
        ("https://a.b.other.example", ("https://*.other.example",)),
        ("https://a.other.example:8443", ("https://*.other.example:*",)),
        ("https://a.other.example:8443", ("https://*.other.example:8443",)),
        ("http://localhost:3000", ("http://localhost:*",)),
        ("http://localhost", ("http://localhost:*",)),
        ("http://[::1]:3000", ("http://[::1]:*",)),
        ("file://", ("file://",)),
        ("app://bundle", ("app://bundle",)),
        ("https://other.example", ("*",)),
        ("null", ("*",)),
        ("null", ("null",)),
        ("anything", ("*",)),
    ],
)
def test_allowed(origin, patterns):
    """Allowed are no origin, the same host and port, what the list has or has a pattern for, any with an asterisk."""
    assert is_allowed(origin, *patterns)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "*",
        "http://example.org",
        "http://example.org:12346",
        "http://example.org:12345.evil.example",
        "http://evil.example/example.org:12345",
        "http://user@example.org:12345",
        "ftp://example.org:12345",
        "http://example.org:*",
        "https://other.example:444",
        "http://other.example",
        "https://sub.other.example",
        "https://sub.wild.example:444",
        "http://sub.wild.example",
        "https://wild.example",
        "https://.wild.example",
        "https://evilwild.example",
        "https://sub.wild.example.evil.example",
        "https://evil.example/.wild.example",
        "https://evil.example#.wild.example",
        "https://*.wild.example",
        "example.org:12345",
        "file://",
        "http://example.org:12345, http://evil.example",
        "http://evil.example, http://example.org:12345",
        "http://[",
        "http://[::1",
        "http://[x]/",
        "https://sub.wild.example\n",
    ],
)
def test_refused(origin):
    """Another scheme, host or port, null, what merely looks like a pattern's, and what is no origin at all are 403."""
    assert not is_allowed(origin, "https://other.example", "https://*.wild.example")


def test_missing_origin_can_be_refused():
    """A program that is no browser sends none; a setting refuses it, and the others are judged as before."""
    assert not is_allowed(None, "*", require=True)
    assert is_allowed("http://example.org:12345", require=True)


@pytest.mark.parametrize(
    ("origin", "host", "scheme", "allowed"),
    [
        ("https://example.org", "example.org", "https", True),
        ("https://example.org", "example.org:443", "https", True),
        ("https://example.org:443", "example.org", "https", True),
        ("https://example.org", "example.org:443", None, True),
        ("http://example.org", "example.org", "https", False),
        ("https://example.org", "example.org", "http", False),
        ("http://example.org", "example.org:80", "http", True),
        ("http://example.org", "example.org:443", None, False),
        ("http://[::1]:8080", "[::1]:8080", "http", True),
        ("http://example.org", "", None, False),
        ("http://", "", None, False),
        ("null", "", None, False),
    ],
)
def test_own_origin(origin, host, scheme, allowed):
    """The scheme counts where it is known, and a default port is the same as none."""
    assert is_allowed(origin, host=host, scheme=scheme) is allowed


@pytest.mark.parametrize(
    "pattern",
    ["", "example.org", "https://example.org/", "https://", "https://*", "https://a.*.org", "https://a:b", "**"],
)
def test_no_patterns(pattern):
    """Anything else in the list is a mistake, which is told with what to write."""
    with pytest.raises(ValueError, match=r"which is no origin: write"):
        OriginPolicy([pattern])


def test_one_more_origin():
    """The console's is allowed once it is known: that one, and not its neighbours."""
    policy = OriginPolicy(())
    policy.allow("http://127.0.0.1:9187")
    policy.check("http://127.0.0.1:9187", HOST)
    for other in ("http://127.0.0.1:9188", "https://127.0.0.1:9187", "http://localhost:9187", "http://127.0.0.1"):
        assert not policy.allows(other)
        with pytest.raises(HandshakeError):
            policy.check(other, HOST)
    assert policy.allows("http://127.0.0.1:9187")
    assert OriginPolicy(("*",)).allows("http://anything.example")
