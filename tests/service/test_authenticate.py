"""The how-to of authentication: its services let in whom they should, and nobody else."""

import asyncio
import base64
import json
import re
import time
import types
from pathlib import Path

import jwt
import pytest

import wshub
from wshub.service.request import Request

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "authenticate.md"
KEY = "0123456789abcdef" * 4


def load(text):
    """The module in the page's snippet that has `text` in it."""
    snippets = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (source,) = (each for each in snippets if text in each)
    module = types.ModuleType("snippet")
    exec(compile(source, str(PAGE), "exec"), vars(module))
    return module


def make_request(authorization=None, cookie=None, offered=(), query=""):
    """A request with these headers."""
    headers = {"host": "localhost", "authorization": authorization, "cookie": cookie}
    lines = "\n".join(f"{name}: {value}" for name, value in headers.items() if value is not None)
    return Request(1, ("127.0.0.1", 1, "/", query, lines, offered))


@pytest.fixture
def tokens(tmp_path, monkeypatch):
    """The service with tokens, and its key in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jwt.key").write_text(KEY + "\n")
    return load("jwt.decode").Service()


def make_token(key=KEY, algorithm="HS256", **changed):
    """A token that is valid but for what is changed; None leaves a claim out."""
    claims = {"sub": "Ada", "aud": "chat", "exp": int(time.time()) + 60, **changed}
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm)


@pytest.mark.parametrize(
    "place",
    [
        lambda token: make_request(authorization=f"Bearer {token}"),
        lambda token: make_request(authorization=f"bearer  {token}"),
        lambda token: make_request(cookie=f"a=b; token={token}"),
        lambda token: make_request(offered=("chat", f"bearer.{token}")),
    ],
)
def test_a_valid_token(tokens, place):
    """In the header, in a cookie or as a subprotocol: its client is let in, and known."""
    request = place(make_token())
    assert tokens.on_request(request) is None
    assert request.state.user == "Ada"
    assert 0 < request.state.expires - time.time() <= 60


def forge_unsigned():
    """A token that says that it needs no signature, with all claims in order."""
    head, claims, _ = make_token().split(".")
    head = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    return f"{head}.{claims}."


def forge_claims():
    """A token whose claims were changed after it was signed."""
    head, _, signature = make_token().split(".")
    claims = base64.urlsafe_b64encode(json.dumps({"sub": "root", "aud": "chat", "exp": 2**40}).encode()).decode()
    return f"{head}.{claims.rstrip('=')}.{signature}"


@pytest.mark.parametrize(
    "make",
    [
        lambda: "",
        lambda: "nonsense",
        lambda: "a.b.c",
        forge_unsigned,
        forge_claims,
        lambda: make_token(key="another" * 10),
        lambda: make_token(algorithm="HS512"),
        lambda: make_token(exp=int(time.time()) - 1),
        lambda: make_token(exp=None),
        lambda: make_token(aud="mail"),
        lambda: make_token(aud=None),
        lambda: make_token(sub=None),
        lambda: make_token(nbf=int(time.time()) + 60),
    ],
)
def test_tokens_that_are_not_valid(tokens, make):
    """A token of another key, algorithm, audience or time, unsigned, changed or incomplete, is a 401."""
    for request in (make_request(authorization=f"Bearer {make()}"), make_request(cookie=f"token={make()}")):
        with pytest.raises(wshub.Refuse) as refusal:
            tokens.on_request(request)
        assert refusal.value.status == 401
        assert refusal.value.headers[0][0] == "WWW-Authenticate"
        assert not vars(request.state)


def test_a_token_in_the_query(tokens):
    """It is not looked at."""
    with pytest.raises(wshub.Refuse):
        tokens.on_request(make_request(query=f"token={make_token()}"))


@pytest.fixture
def passwords(tmp_path, monkeypatch):
    """The service with passwords; it knows Ada."""
    monkeypatch.chdir(tmp_path)
    user = load("def make_user").make_user("Pässwort:1")
    (tmp_path / "users.json").write_text(json.dumps({"Ada": user}))
    assert "Pässwort" not in json.dumps(user, ensure_ascii=False)
    return load("def parse_basic").Service()


def basic(text):
    """The value of an Authorization header."""
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def ask(service, *requests):
    """What on_request raises or returns for each of the requests."""

    async def run():
        await service.on_start()
        return await asyncio.gather(*map(service.on_request, requests), return_exceptions=True)

    return asyncio.run(run())


def test_the_right_password(passwords):
    """Its client is let in, and known; a password may have a colon and any letters."""
    request = make_request(basic("Ada:Pässwort:1"))
    assert ask(passwords, request) == [None]
    assert request.state.user == "Ada"


def test_wrong_passwords(passwords):
    """Anything else is a 401 with a challenge."""
    wrong = [None, "", "Basic", "Basic !", "Basic /w==", "Bearer x"]
    wrong += map(basic, ("Ada", "Ada:", "Ada:Passwort:1", "Bob:Pässwort:1", ":"))
    challenge = ("WWW-Authenticate", 'Basic realm="chat", charset="UTF-8"')
    for refusal in ask(passwords, *map(make_request, wrong)):
        assert isinstance(refusal, wshub.Refuse)
        assert (refusal.status, refusal.headers) == (401, (challenge,))


def test_a_user_whom_nobody_knows_takes_as_long(passwords):
    """A name is not told from the time that a refusal takes: both hash a password once."""
    module = load("def parse_basic")
    hashed = []
    module.hash_password = lambda password, salt: hashed.append(password) or bytes(64)
    assert not module.is_right({"salt": "00", "hash": "ff" * 64}, "one")
    assert module.is_right(module.NOBODY, "two"), "this fake hashes to zeros; scrypt does not"
    assert hashed == ["one", "two"]
