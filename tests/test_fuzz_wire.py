"""The fuzzer of the pipe's codec in its short form: it finds nothing, and would."""

import random

import pytest

import fuzz.wire as fuzzer
from wshub.errors import WireError
from wshub.processes import pending
from wshub.wire import batches, payloads

UNDERSTOOD = {
    *("accept", "accept-empty", "binary", "close", "close-gone", "data", "empty", "failed", "large", "many"),
    *("multicast", "multicast-some", "refuse", "several", "sync", "two-batches"),
}


def read_corpus():
    """The streams that are mutated, by name."""
    return {file.name: file.read_bytes() for file in fuzzer.CORPUS.iterdir()}


def test_mutated_batches():
    """Some thousand mutated batches: each is understood, or a `WireError`."""
    assert fuzzer.run(1.5, seed=1) >= 1000


def test_the_corpus_itself():
    """The batches that are mutated are right or hostile, as their names say, wherever they are cut."""
    corpus = read_corpus()
    assert set(corpus) >= UNDERSTOOD
    for name, data in corpus.items():
        for cuts in ([], [1], [3, 4], [len(data) // 2], list(range(min(len(data), 80)))):
            assert fuzzer.check(data, cuts) is (name in UNDERSTOOD), name


def test_mutations_get_past_the_columns():
    """Mutations are neither all nonsense nor all harmless: many are understood, and each kind of mistake is made."""
    chance = random.Random(2)
    corpus = list(read_corpus().values())
    understood, mistakes = 0, set()
    for _ in range(4000):
        link, _, _ = fuzzer._make_link()
        try:
            link.receive(fuzzer.mutate(chance.choice(corpus), chance))
            understood += 1
        except WireError as error:
            mistakes.add(" ".join(str(error).split()[:4]))
    assert 400 < understood < 2000
    assert len(mistakes) > 15, mistakes


def test_mutations_of_payloads():
    """They are neither all nonsense nor all harmless either; each payload that is mutated is understood as it is."""
    chance = random.Random(3)
    assert all(map(fuzzer.check_payload, fuzzer.PAYLOADS))
    understood = sum(fuzzer.check_payload(fuzzer.make_payload(chance)) > 1 for _ in range(4000))
    assert 500 < understood < 3000


@pytest.mark.parametrize(
    ("module", "name", "broken"),
    [
        (batches, "accumulate", lambda sizes, initial: [initial, *(initial for _ in sizes)]),
        (payloads, "is_sendable_close_code", lambda code: True),
        (pending, "decode_accept", lambda payload, offered: (None, (("X", payload.decode(errors="replace")),))),
        (pending, "decode_refuse", lambda payload: (200, (), "")),
    ],
)
def test_a_codec_that_lets_something_through_is_found(monkeypatch, module, name, broken):
    """A check that is missing is found, with the input that shows it."""
    monkeypatch.setattr(module, name, broken)
    with pytest.raises(AssertionError, match="at this input: b"):
        fuzzer.run(20.0, seed=1)


def test_the_same_seed_gives_the_same_inputs():
    """What was found once is found again."""
    data = read_corpus()["several"]
    first, second = ([fuzzer.mutate(data, chance) for _ in range(50)] for chance in map(random.Random, (7, 7)))
    assert first == second
    assert len(set(first)) > 40
