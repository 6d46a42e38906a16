"""Noticing what was saved."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wshub.processes.watching import INTERVAL, PIECE, SETTLE, Changes, FolderWatch, find_sources
from wshub.testing import FakeReactor


class Watched:
    """A folder that is watched."""

    def __init__(self, reactor: FakeReactor, root: Path) -> None:
        self.reactor = reactor
        self.root = root
        self.told: list[Changes] = []
        self.watch = FolderWatch(reactor, root, self.told.append)

    def save(self, name: str, text: str) -> Path:
        """Save a file."""
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def look(self) -> list[Changes]:
        """Let it look, and look again at what has changed; what it told."""
        self.reactor.advance(INTERVAL)
        self.reactor.turn()
        self.reactor.advance(SETTLE)
        self.reactor.turn()
        told, self.told[:] = self.told[:], []
        return told


@pytest.fixture
def watched(reactor: FakeReactor, tmp_path: Path) -> Iterator[Watched]:
    """A folder with one file, watched from now on."""
    watched = Watched(reactor, tmp_path)
    watched.save("old.py", "1")
    watched.watch.start()
    yield watched
    watched.watch.stop()
    assert reactor.getDelayedCalls() == []


def test_what_is_told(watched: Watched) -> None:
    """What was saved, made and removed, each once; what was there before is not new."""
    assert watched.look() == []
    old, new = watched.save("old.py", "22"), watched.save("in/side/new.py", "1")
    assert watched.look() == [Changes(frozenset({old}), frozenset({new}))]
    assert watched.look() == []
    old.unlink()
    assert watched.look() == [Changes(removed=frozenset({old}))]


def test_an_editor_that_saves_in_two_steps(watched: Watched) -> None:
    """Nothing is told until it has been the same for two looks."""
    old = watched.save("old.py", "")
    watched.reactor.advance(INTERVAL)
    assert watched.told == []
    watched.save("old.py", "whole")
    watched.reactor.advance(SETTLE)
    assert watched.told == []
    watched.reactor.advance(SETTLE)
    assert watched.told == [Changes(frozenset({old}))]


def test_one_that_takes_the_old_file_away_first(watched: Watched) -> None:
    """A file that is back by the second look, another one now, has changed and was never gone."""
    old = watched.root / "old.py"
    old.unlink()
    watched.reactor.advance(INTERVAL)
    watched.save("other", "1")
    (watched.root / "other").rename(old)
    watched.reactor.advance(SETTLE)
    watched.reactor.advance(SETTLE)
    assert watched.told == [Changes(frozenset({old}))]


def test_what_is_not_looked_at(watched: Watched) -> None:
    """Other files, folders that are hidden or hold what was made, and links to folders."""
    for name in ("a.html", ".hidden.py", ".git/a.py", "__pycache__/a.py", "node_modules/a.py"):
        watched.save(name, "1")
    (watched.root / "loop").symlink_to(watched.root)
    (watched.root / "nowhere.py").symlink_to("missing")
    assert watched.look() == []


def test_many_files_are_looked_at_in_pieces(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits while it looks: so many files in a turn, and then whoever else has something to do."""
    for number in range(2 * PIECE):
        watched.save(f"f{number}.py", "")
    turns: list[float] = []
    call_later = watched.reactor.callLater

    def note(delay: float, *call: Any) -> Any:
        turns.append(delay)
        return call_later(delay, *call)

    monkeypatch.setattr(watched.reactor, "callLater", note)
    (changes,) = watched.look()
    assert len(changes.new) == 2 * PIECE
    assert turns[:6] == [0, 0, SETTLE, 0, 0, INTERVAL]


def test_a_folder_that_cannot_be_read(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is passed over, and the others are not."""
    new = watched.save("in/new.py", "1")
    scan = os.scandir

    def refuse(path: str) -> object:
        if path == str(watched.root / "closed"):
            raise PermissionError
        return scan(path)

    (watched.root / "closed").mkdir()
    monkeypatch.setattr(os, "scandir", refuse)
    assert {file for file, _ in find_sources(watched.root)} == {new, watched.root / "old.py"}


def test_links_to_nothing(watched: Watched) -> None:
    """They are passed over, and nothing else in their folder is, in whatever order it is read."""
    files = set()
    for number in range(10):
        (watched.root / f"a{number}.py").symlink_to("missing")
        files.add(watched.save(f"b{number}.py", "1"))
    (changes,) = watched.look()
    assert changes == Changes(new=frozenset(files))


def test_a_mistake_of_who_is_told(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on looking."""

    def fail(changes: Changes) -> None:
        raise ValueError(changes)

    monkeypatch.setattr(watched.watch, "_on_changes", fail)
    watched.save("old.py", "22")
    with pytest.raises(ValueError, match="old"):
        watched.look()
    monkeypatch.undo()
    new = watched.save("new.py", "1")
    assert watched.look() == [Changes(new=frozenset({new}))]
