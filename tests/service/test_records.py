"""What a service says by `logging`: it goes to stderr with its level, and a service without it pays nothing."""

import pytest


def start_and_stop(start_service, imports, body=""):
    """The lines of a service's stderr; `body` is the text of its on_open."""
    service = start_service(
        f"""
        import sys
        {imports}
        import wshub

        class Service(wshub.{"AsyncService" if "asyncio" in imports else "Service"}):
            {"async " if "asyncio" in imports else ""}def on_open(self, client):
                {body}
                client.send("done")
        """
    )
    service.connect()
    service.get_text()
    assert service.stop() == 0
    return service.stderr.items


@pytest.mark.parametrize("imports", ["import logging", "import asyncio, logging"])
def test_levels(start_service, imports):
    """Each record is a line with syslog's number for its level; what is below INFO is not for the log."""
    body = '[logging.getLogger("a.b").log(level, "n %d", level) for level in (10, 20, 25, 30, 40, 50)]'
    assert start_and_stop(start_service, imports, body) == [
        "<6>a.b: n 20",
        "<6>a.b: n 25",
        "<4>a.b: n 30",
        "<3>a.b: n 40",
        "<2>a.b: n 50",
    ]


def test_lines(start_service):
    """Every line of a record has the level, a traceback's too."""
    body = 'logging.error("one\\ntwo", exc_info=ValueError("bad"))'
    assert start_and_stop(start_service, "import logging", body) == [
        "<3>root: one",
        "<3>two",
        "<3>ValueError: bad",
    ]


def test_the_authors_own_arrangements(start_service):
    """Who has given the root logger a handler has what he wants."""
    imports = 'import logging; logging.basicConfig(format="mine %(message)s", level=logging.ERROR)'
    body = 'logging.warning("w"); logging.error("e")'
    assert start_and_stop(start_service, imports, body) == ["mine e"]


def test_the_authors_own_level(start_service):
    """A level that he has set stays."""
    imports = "import logging; logging.getLogger().setLevel(logging.DEBUG)"
    assert start_and_stop(start_service, imports, 'logging.debug("d")') == ["<7>root: d"]


def test_a_record_that_cannot_be_formatted(start_service):
    """The mistake is told as `logging` tells it, and the service lives on."""
    lines = start_and_stop(start_service, "import logging", 'logging.error("%d", "x")')
    assert "--- Logging error ---" in lines


def test_without_logging(start_service):
    """A module that does not import it does without, and so does the kit."""
    body = (
        'print([name for name in sys.modules if name.split(".")[0] == "logging" or "records" in name], file=sys.stderr)'
    )
    assert start_and_stop(start_service, "", body) == ["[]"]
