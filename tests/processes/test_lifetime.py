"""Which services are to run before anybody asks for them."""

import pytest

from wshub.processes.lifetime import MAX_SOURCE, is_eager, read_lifetime


@pytest.mark.parametrize(
    ("body", "lifetime"),
    [
        ('lifetime = "eager"', "eager"),
        ('lifetime: str = "eager"', "eager"),
        ('"""Doc."""\n    x = 1\n    lifetime = "eager"', "eager"),
        ('lifetime = "lazy"', "lazy"),
        ("lifetime: str", "lazy"),
        ('lifetime = "hasty"', "lazy"),
        ('lifetime = "ea" + "ger"', "lazy"),
        ('def lifetime(self): return "eager"', "lazy"),
        ("pass", "lazy"),
    ],
)
def test_what_a_class_declares(body, lifetime):
    """A plain assignment in the class counts, and nothing that would have to be run."""
    assert read_lifetime(f"import wshub\n\nclass Service(wshub.Service):\n    {body}\n") == lifetime


@pytest.mark.parametrize(
    "source", ['lifetime = "eager"', 'class Other:\n    lifetime = "eager"', "class Service(:", "\0", "", "-" * 100_000]
)
def test_what_declares_nothing(source):
    """Another class, another place, or what is no Python."""
    assert read_lifetime(source) == "lazy"


def test_files(tmp_path):
    """What cannot be read, is no text or is far too long is not eager, and no error."""
    file = tmp_path / "a.py"
    assert not is_eager(file)
    file.write_text('class Service:\n    lifetime = "eager"\n')
    assert is_eager(file)
    file.write_bytes(b"\xff")
    assert not is_eager(file)
    file.write_text('class Service:\n    lifetime = "eager"\n' + "#" * MAX_SOURCE)
    assert not is_eager(file)
