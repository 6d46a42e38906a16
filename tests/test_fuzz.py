"""The fuzzers in their short form: they find nothing, and would."""

import random

import pytest

import fuzz.handshake as fuzzer
from fuzz.__main__ import main
from wshub.door import handshake


def test_mutated_handshakes():
    """A second of mutated handshakes: each is answered with 101, 200 or the right kind of refusal."""
    assert fuzzer.run(1.0, seed=1) >= 1000


def test_the_corpus_itself():
    """The requests that are mutated are answered as their names say: most mutations begin where it is interesting."""
    statuses = {file.name: fuzzer.check(file.read_bytes()) for file in fuzzer.CORPUS.iterdir()}
    assert statuses == {
        "body": 405,
        "chunked": 400,
        "folded": 400,
        "plain": 200,
        "plain-old": 200,
        "proxy-v1": 101,
        "proxy-v2": 101,
        "tls": 0,
        "upgrade": 101,
        "upgrade-absolute": 101,
        "upgrade-browser": 101,
        "upgrade-escapes": 404,
        "upgrade-folder": 101,
        "upgrade-foreign-origin": 403,
        "upgrade-forwarded": 101,
        "upgrade-offers": 101,
        "upgrade-old": 505,
        "upgrade-origin": 101,
    }


def test_mutations_reach_every_answer():
    """Among some thousand mutations there is each status: they are neither all nonsense nor all harmless."""
    chance = random.Random(2)
    corpus = [file.read_bytes() for file in sorted(fuzzer.CORPUS.iterdir())]
    statuses = {fuzzer.check(fuzzer.mutate(chance.choice(corpus), chance)) for _ in range(6000)}
    assert statuses >= {0, 101, 200, 400, 403, 404, 405, 414, 426, 431, 505}


def test_a_parser_that_lets_something_through_is_found(monkeypatch):
    """A header that may have a line feed in it, and one that raises what it should not, are found with their input."""
    monkeypatch.setattr(handshake, "_HEADER", handshake.re.compile(rb"([^:]*):([^\r]*)"))
    with pytest.raises(AssertionError, match="at this input: b"):
        fuzzer.run(5.0, seed=1)


def test_the_same_seed_gives_the_same_inputs():
    """What was found once is found again."""
    first, second = (fuzzer.mutate(b"GET / HTTP/1.1\r\n\r\n", random.Random(7)) for _ in range(2))
    assert first == second


def test_the_command(capsys, monkeypatch):
    """It runs the fuzzer that is named, says how many inputs there were, and fails if one of them is a finding."""
    assert main(["handshake", "--seconds", "0.1", "--seed", "5"]) == 0
    assert "inputs, nothing found" in capsys.readouterr().out

    def find(seconds, seed):
        raise AssertionError(f"found with {seed}")

    monkeypatch.setattr(fuzzer, "run", find)
    assert main(["handshake", "--seconds", "0.1", "--seed", "5"]) == 1
    assert "again with: python -m fuzz handshake --seed 5" in capsys.readouterr().out
