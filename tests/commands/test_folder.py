"""The commands that look at a folder of services: routes, check, new."""

import json
import subprocess
import sys

import pytest

from wshub.cli import main
from wshub.commands import routes
from wshub.commands.new import write_new
from wshub.commands.styles import STYLES
from wshub.errors import ConfigError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch):
    """Whatever listens at the usual port of this machine is not asked."""
    monkeypatch.setattr(routes, "ask_hub", lambda settings, port: None)


@pytest.fixture
def services(folder):
    """Services of each style, and of none."""
    root = folder / "services"
    (root / "foo").mkdir(parents=True)
    (root / "one.py").write_text("import wshub\nclass Service(wshub.Service): pass\n")
    (root / "foo" / "two.py").write_text("import wshub\nclass Service(wshub.AsyncService): pass\n")
    (root / "foo" / "ws_service.py").write_text("import Services\nclass Service(Services.Service): pass\n")
    (root / "_lib.py").write_text("")
    return root


def test_routes(services, capsys):
    """A table of URL, style and file."""
    (services / "broken.py").write_text("class Service(:")
    assert main(["routes"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "URL       STYLE     FILE",
        "/broken   ?         broken.py  (line 1: invalid syntax)",
        "/foo/     classic   foo/ws_service.py",
        "/foo/two  async     foo/two.py",
        "/one      handlers  one.py",
    ]


def test_routes_as_json(services, capsys):
    """The same for programs."""
    (services / "broken.py").write_text("x = 1")
    assert main(["routes", "--json", "-d", "services"]) == 0
    listing = json.loads(capsys.readouterr().out)
    unknown = {"state": None, "clients": None}
    assert listing[0] == {
        "path": "/broken",
        "file": "broken.py",
        "style": None,
        "problem": "no class Service",
        **unknown,
    }
    assert listing[-1] == {"path": "/one", "file": "one.py", "style": "handlers", "problem": None, **unknown}


def test_routes_of_an_empty_folder(folder, capsys):
    """It says what to do."""
    (folder / "services").mkdir()
    assert main(["routes"]) == 0
    assert "`wshub new NAME` writes one" in capsys.readouterr().err


def test_check(services, capsys):
    """One line each, a traceback where something is wrong, and then status 1."""
    (services / "foo" / "ws_service.py").unlink()
    assert main(["check"]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [["ok", "/foo/two"], ["ok", "/one"]]
    (services / "bad.py").write_text("1/0")
    assert main(["check"]) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "FAILED  /bad: ZeroDivisionError: division by zero"
    assert lines[1] == "        Traceback (most recent call last):"
    assert err == "1 of 3 services failed\n"
    assert main(["check", "/one"]) == 0


def test_check_reads_the_settings(services, folder, capsys):
    """The file of settings counts as for the hub: its folder, its times, its environment."""
    (folder / "hub.toml").write_text(
        'document_root = "services"\nstart_timeout = 0.5\nservice_environment = ["COLOUR=blue"]\n'
    )
    (services / "env.py").write_text("import os, wshub\nassert os.environ['COLOUR'] == 'blue'\n"
                                     "class Service(wshub.Service): pass\n")  # fmt: skip
    (services / "late.py").write_text("import time; time.sleep(60)")
    assert main(["check", "-c", "hub.toml", "/env"]) == 0
    assert main(["check", "-c", "hub.toml", "/late"]) == 1
    assert "/late: is not ready after 0.5 seconds" in capsys.readouterr().out


def test_check_escapes_what_a_service_says(services, capsys):
    """A service cannot do anything to the terminal."""
    (services / "bad.py").write_text("raise ValueError('\\x1b[2J')")
    main(["check", "/bad"])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", ["chat", "foo/my-chat"])
def test_new(folder, style, name, capsys):
    """A service of each style and a test: the service starts, the style is what was asked for, the test passes."""
    assert main(["new", name, "--style", style]) == 0
    test = folder / "tests" / f"test_{name.replace('/', '_').replace('-', '_')}.py"
    assert f"wrote tests/{test.name}" in capsys.readouterr().out
    assert main(["routes", "--json"]) == 0
    (service,) = json.loads(capsys.readouterr().out)
    assert (service["path"], service["style"]) == (f"/{name}", style)
    assert main(["check"]) == 0
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(test)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_the_new_test_can_fail(folder):
    """The test that is written fails when the service does not do what it should."""
    main(["new", "chat"])
    file = folder / "services" / "chat.py"
    file.write_text(file.read_text().replace("self.broadcast(data)", "pass"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), "tests"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 failed, 1 passed" in done.stdout


@pytest.mark.parametrize("there", ["services/chat.py", "tests/test_chat.py"])
def test_new_overwrites_nothing(folder, there, capsys):
    """If one of the two files is there, neither is written."""
    (folder / there).parent.mkdir()
    (folder / there).write_text("mine")
    assert main(["new", "chat"]) == 1
    assert f"{there} exists already" in capsys.readouterr().err
    assert [str(each.relative_to(folder)) for each in folder.rglob("*.py")] == [there]
    assert (folder / there).read_text() == "mine"


def test_new_elsewhere(folder):
    """The tests are beside the folder of services, wherever it is."""
    assert main(["new", "a", "-d", "deep/hub"]) == 0
    assert (folder / "deep" / "hub" / "a.py").exists()
    assert 'parents[1] / "hub"' in (folder / "deep" / "tests" / "test_a.py").read_text()


def test_new_cannot_write(folder):
    """A folder that cannot be made is one sentence."""
    (folder / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/x\.py cannot be written"):
        write_new({folder / "file" / "x.py": ""})
