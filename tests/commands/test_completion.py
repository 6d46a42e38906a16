"""Completion: what each shell is told is what the commands have."""

import shutil
import subprocess

import pytest

from wshub.cli import COMMANDS, main
from wshub.commands.completion import find_options
from wshub.tap import Options


@pytest.fixture(scope="module")
def options():
    """The options of each command."""
    return find_options()


def test_every_command_has_its_options(options):
    """Those of argparse, and those of the hub."""
    assert list(options) == list(COMMANDS)
    serve = {flag for each in options["serve"] for flag in each.flags}
    assert {f"--{name.rstrip('=')}" for name in Options().longOpt} <= serve
    assert {"-p", "-d", "-c", "-h", "-o"} <= serve
    assert {"--style", "-d"} <= {flag for each in options["new"] for flag in each.flags}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(shell, options, capsys, tmp_path):
    """A script has every command and every long option, and the shell, if it is here, can read it."""
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for command, each in options.items():
        assert command in script
        for flag in (flag for option in each for flag in option.flags if flag.startswith("--")):
            assert (f"-l {flag[2:]} " if shell == "fish" else flag) in script
    if path := shutil.which(shell):
        (tmp_path / "script").write_text(script)
        subprocess.run([path, "-n", tmp_path / "script"], check=True, timeout=20)


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["ro"], ["routes"]),
        (["--v"], ["--version"]),
        (["new", "--st"], ["--style"]),
        (["new", "--style", "c"], ["classic"]),
        (["serve", "-d", "some"], ["some folder"]),
        (["serve", "-c", "some"], ["some folder", "some.toml"]),
        (["serve", "-p", ""], []),
        (["completion", "z"], ["zsh"]),
    ],
)
def test_bash_completes(words, completed, capsys, tmp_path):
    """What bash offers for the last word."""
    main(["completion", "bash"])
    (tmp_path / "some folder").mkdir()
    (tmp_path / "some.toml").write_text("")
    quoted = " ".join(f"'{word}'" for word in ["wshub", *words])
    script = (
        f"{capsys.readouterr().out}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _wshub\n"
        'for each in "${COMPREPLY[@]}"; do echo "$each"; done'
    )
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=20, check=True)
    assert sorted(done.stdout.splitlines()) == completed
