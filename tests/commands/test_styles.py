"""Which style a source is written in, without running it."""

from pathlib import Path

import pytest

from wshub.commands.styles import find_style, read_style

SERVICES = Path(__file__).parents[2] / "services"


@pytest.mark.parametrize(
    ("source", "style"),
    [
        ("import wshub\nclass Service(wshub.Service): pass", "handlers"),
        ("import wshub as w\nclass Service(w.AsyncService): pass", "async"),
        ("from wshub import Service as Base\nclass Service(Base): pass", "handlers"),
        ("from wshub import AsyncService as Service", "async"),
        ("import Services\nclass Service(Services.Service): pass", "classic"),
        ("from Services import Service as S\nclass Service(S): pass", "classic"),
        ("import wshub\nclass Base(wshub.AsyncService): pass\nclass Service(Mixin, Base): pass", "async"),
        ("import wshub\nclass Chat(wshub.Service): pass\nService = Chat", "handlers"),
        ("try:\n    import wshub\nfinally:\n    pass\nif True:\n    class Service(wshub.Service): pass", "handlers"),
        ("import wshub.service.handlers\nclass Service(wshub.service.handlers.Service): pass", "handlers"),
        ("from wshub.service.coroutines import AsyncService\nclass Service(AsyncService[int]): pass", "async"),
    ],
)
def test_styles(source, style):
    """However the base class is written."""
    assert find_style(source).style == style
    assert find_style(source).problem == ""


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("x = 1", "no class Service"),
        ("def f():\n    class Service: pass", "no class Service"),
        ("class Service(:\n", "line 1: "),
        ("class Service: pass", "not to be seen"),
        ("from lib import Base\nclass Service(Base): pass", "not to be seen"),
        ("class Service(make_base()): pass", "not to be seen"),
        ("class Service(Service): pass", "not to be seen"),
        (b"\xff\xfe", "line "),
        ("x = '\0'", ""),
    ],
)
def test_problems(source, problem):
    """What cannot be told is said, and nothing raises."""
    found = find_style(source)
    assert found.style == ""
    assert problem in found.problem
    assert found.problem


def test_nothing_runs(tmp_path):
    """Reading a file does not run it."""
    file = tmp_path / "it.py"
    file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nimport wshub\nclass Service(wshub.Service): pass\n")
    assert read_style(file).style == "handlers"
    assert not (tmp_path / "ran").exists()
    assert "cannot be read: No such file" in read_style(tmp_path / "missing").problem


@pytest.mark.parametrize(
    ("name", "style"), [("echo", "handlers"), ("clock", "async"), ("demo_chatroom", "classic"), ("foo/bar", "handlers")]
)
def test_the_examples(name, style):
    """The packaged examples are what they are."""
    assert read_style(SERVICES / f"{name}.py").style == style
