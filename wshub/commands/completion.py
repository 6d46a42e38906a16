"""Prints a script that lets a shell complete the commands and options of wshub.

bash: eval "$(wshub completion bash)" in ~/.bashrc
zsh:  wshub completion zsh > a file called _wshub in a folder of $fpath
fish: wshub completion fish > ~/.config/fish/completions/wshub.fish
"""

import argparse
from dataclasses import dataclass

from wshub.cli import COMMANDS, make_parser

FOLDERS, FILES = "folders", "files"
KINDS = {"FOLDER": FOLDERS, "FILE": FILES}
"""What follows an option, by its metavar."""


@dataclass(frozen=True)
class Option:
    """One option of a command: `flags` such as ``-d`` and ``--document-root``."""

    flags: tuple[str, ...]
    help: str
    takes_value: bool = False
    kind: str = ""
    """What the value is, `FOLDERS` or `FILES`, where a shell can help."""
    choices: tuple[str, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("shell", metavar="SHELL", choices=tuple(WRITERS), help=f"{', '.join(WRITERS)}: whose script")


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    print(WRITERS[arguments.shell](find_options()), end="")
    return 0


def find_options() -> dict[str, list[Option]]:
    """The options of each command, with words that it takes as one without flags."""
    parser = make_parser(list(COMMANDS))
    (subparsers,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    found = {name: [as_option(each) for each in subparsers.choices[name]._actions] for name in COMMANDS}
    found["serve"] = find_serve_options()
    return found


def as_option(action: argparse.Action) -> Option:
    """An option as argparse has it."""
    return Option(
        tuple(action.option_strings),
        action.help or "",
        action.nargs != 0,
        KINDS.get(str(action.metavar), ""),
        tuple(map(str, action.choices or ())),
    )


def find_serve_options() -> list[Option]:
    """The options of ``twistd wshub``."""
    from wshub.commands.serve import ServeOptions  # noqa: PLC0415 - half a second, that `completion --help` need not take

    options = ServeOptions()
    found = []
    for long in options.longOpt:
        name = long.rstrip("=")
        shorts = sorted(f"-{short}" for short, meant in options.synonyms.items() if len(short) == 1 and meant == name)
        method = getattr(options, f"opt_{name.replace('-', '_')}", None)
        doc = (getattr(method, "__doc__", None) or "").strip().splitlines()
        kind = FOLDERS if name in ("document-root", "html") else FILES if name == "config" else ""
        found.append(Option((*shorts, f"--{name}"), doc[0] if doc else "", long.endswith("="), kind))
    return sorted(found, key=lambda each: each.flags[-1])


def write_bash(options: dict[str, list[Option]]) -> str:
    """The script for bash, without the package bash-completion."""
    values, words = [], []
    for command, all_of_it in options.items():
        for option in (each for each in all_of_it if each.flags and each.takes_value):
            patterns = "|".join(f"'{command} {flag}'" for flag in option.flags)
            words_for_value = f"compgen -W '{' '.join(option.choices)}'" if option.choices else "true"
            generate = {FOLDERS: "compgen -d", FILES: "compgen -f"}.get(option.kind, words_for_value)
            tail = "" if generate == "true" else ' -- "$cur"'
            lines = "local IFS=$'\\n'; " if option.kind else ""  # names of files may have spaces
            values.append(f"        {patterns}) {lines}COMPREPLY=($({generate}{tail})); return ;;")
        every = [word for each in all_of_it for word in (each.flags or each.choices)]
        words.append(f"        {command}) words='{' '.join(every)}' ;;")
    return "\n".join(
        [
            "_wshub() {",
            '    local cur="${COMP_WORDS[COMP_CWORD]}" words=""',
            '    if [ "$COMP_CWORD" -eq 1 ]; then',
            f"        COMPREPLY=($(compgen -W '{' '.join(options)} --help --version' -- \"$cur\"))",
            "        return",
            "    fi",
            '    case "${COMP_WORDS[1]} ${COMP_WORDS[COMP_CWORD-1]}" in',
            *values,
            "    esac",
            '    case "${COMP_WORDS[1]}" in',
            *words,
            "    esac",
            '    COMPREPLY=($(compgen -W "$words" -- "$cur"))',
            "}",
            "complete -o filenames -F _wshub wshub",
            "",
        ]
    )


def write_zsh(options: dict[str, list[Option]]) -> str:
    """The script for zsh."""
    lines = ["#compdef wshub", "", "_wshub() {", "    local -a commands", "    commands=("]
    lines += [f"        {quote(f'{name}:{line}')}" for name, line in COMMANDS.items()]
    lines += [
        "    )",
        "    if (( CURRENT == 2 )); then",
        "        _describe command commands",
        "        return",
        "    fi",
    ]
    lines += ["    local command=$words[2]", "    shift words; (( CURRENT-- ))", "    case $command in"]
    for command, all_of_it in options.items():
        lines.append(f"        {command}) _arguments \\")
        lines += [f"            {quote(spec)} \\" for each in all_of_it for spec in zsh_specs(each)]
        lines.append("            ;;")
    return "\n".join([*lines, "    esac", "}", "", 'compdef _wshub wshub 2>/dev/null || _wshub "$@"', ""])


def zsh_specs(option: Option) -> list[str]:
    """What `_arguments` is told of an option (zshcompsys(1))."""
    action = {FOLDERS: "_files -/", FILES: "_files"}.get(option.kind, f"({' '.join(option.choices)})")
    if not option.flags:
        return [f"1:word:{action}"] if option.choices else []
    text = option.help.translate(str.maketrans("[]:", "(),"))
    value = f":value:{action if action != '()' else ' '}" if option.takes_value else ""
    return [f"*{flag}[{text}]{value}" for flag in option.flags]


def write_fish(options: dict[str, list[Option]]) -> str:
    """The script for fish."""
    lines = ["complete -c wshub -f"]
    lines += [
        f"complete -c wshub -n __fish_use_subcommand -a {name} -d {fish_quote(line)}" for name, line in COMMANDS.items()
    ]
    for command, all_of_it in options.items():
        for each in all_of_it:
            condition = f"complete -c wshub -n '__fish_seen_subcommand_from {command}'"
            flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in each.flags)
            choices = f"-a {fish_quote(' '.join(each.choices))}" if each.choices else ""
            if each.flags and each.takes_value:
                choices = {FOLDERS: "-x -a '(__fish_complete_directories)'", FILES: "-r -F"}.get(
                    each.kind, f"-x {choices}"
                )
            if flags or choices:
                lines.append(" ".join(filter(None, (condition, flags, choices.strip(), "-d", fish_quote(each.help)))))
    return "\n".join([*lines, ""])


def quote(text: str) -> str:
    """`text` as one word of a POSIX shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def fish_quote(text: str) -> str:
    """`text` as one word of fish, which has two escapes in single quotes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


WRITERS = {"bash": write_bash, "zsh": write_zsh, "fish": write_fish}
