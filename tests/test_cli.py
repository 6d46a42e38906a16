"""The command line as a whole: help, mistakes, exit statuses, and what is imported for it."""

import subprocess
import sys

import pytest

import wshub
from wshub import cli
from wshub.cli import COMMANDS, main
from wshub.commands import routes


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder has nothing in it but one service."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "echo.py").write_text("import wshub\nclass Service(wshub.Service): pass\n")
    return tmp_path


def exit_status(*words):
    """What `main` returns or exits with."""
    try:
        return main(words)
    except SystemExit as error:
        return error.code


def test_without_a_command(capsys):
    """The help, and the status of a mistake."""
    assert exit_status() == 2
    out = capsys.readouterr().out
    for name, line in COMMANDS.items():
        assert f"    {name}" in out
        assert line in out


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help(words, capsys):
    """Every command has help, in lines that fit."""
    assert exit_status(*words) == 0
    out = capsys.readouterr().out
    assert out.lower().startswith(f"usage: wshub{' ' + words[0] if len(words) == 2 else ''}")
    assert max(map(len, out.splitlines())) <= 120


def test_version(capsys):
    """The package's."""
    assert exit_status("--version") == 0
    assert capsys.readouterr().out == f"wshub {wshub.__version__}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nonsense"], "wshub: argument COMMAND: invalid choice: 'nonsense'"),
        (["nwe", "x"], "wshub: there is no command 'nwe'; did you mean new? (see wshub --help)"),
        (["routes", "--bogus"], "wshub routes: unrecognized arguments: --bogus (see wshub routes --help)"),
        (["new"], "wshub new: the following arguments are required: NAME"),
        (["new", "../x"], "no name of a service"),
        (["new", "x", "--style", "y"], "invalid choice: 'y'"),
        (["call", "ftp://x"], "'ftp://x' is no WebSocket URL"),
        (["call", "/x", "-H", "x"], "'x' is no header"),
        (["bench", "/x", "-c", "0"], "at least 1, not '0'"),
        (["bench", "/x", "-t", "no"], "more than 0, not 'no'"),
        (["serve", "--bogus"], "wshub serve: option --bogus not recognized (see wshub serve --help)"),
        (["serve", "folder"], "what is 'folder' for?"),
        (["completion"], "arguments are required: SHELL"),
        (["completion", "tcsh"], "invalid choice: 'tcsh'"),
    ],
)
def test_usage_mistakes(words, says, capsys):
    """A mistake in the command line is one line on stderr, and status 2."""
    assert exit_status(*words) == 2
    out, err = capsys.readouterr()
    assert says in err
    assert err.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize(
    "words",
    [["routes", "-d", "missing"], ["check", "-c", "bad.toml"], ["check", "/nix"], ["serve", "-d", "missing"]],
)
def test_mistakes_in_settings(words, folder, capsys):
    """What is wrong with a folder or a setting is one line too, and status 1."""
    (folder / "bad.toml").write_text("port = [")
    assert exit_status(*words) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"wshub {words[0]}: ")
    assert err.count("\n") == 1


def test_interrupted(monkeypatch, capsys):
    """Ctrl-C is status 130 and no traceback."""

    def run(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(routes, "run", run)
    assert exit_status("routes") == cli.INTERRUPTED == 130
    assert capsys.readouterr() == ("", "")


def test_a_reader_that_has_had_enough():
    """A pipe that is closed early, as by `head`, is no error."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from wshub.cli import main; input(); sys.exit(main(['routes']))"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    _, err = process.communicate(b"\n", 20)
    assert (process.returncode, err) == (0, b"")


@pytest.mark.parametrize("words", [["--help"], ["routes"], ["new", "x"]])
def test_quick_commands_import_little(words):
    """Neither Twisted nor asyncio is imported for what needs neither."""
    program = (
        f"import sys; from wshub.cli import main\ntry: main({words!r})\nexcept SystemExit: pass\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert {"twisted", "autobahn", "asyncio", "websockets"} & set(done.stdout.split()) <= {"websockets"}, "it is slow"
