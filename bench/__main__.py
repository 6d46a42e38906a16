"""The command line: ``python -m bench``."""

import argparse
import fnmatch
import resource
import sys
from dataclasses import replace
from pathlib import Path

from bench import docs, lines, machine, report, results
from bench.line import Line
from bench.run import LineResult, Runner
from bench.server import BenchError
from bench.systems import System, make_systems
from bench.targets import judge
from bench.turn import PLACES

QUICK_SECONDS = 168.0  # of the three minutes; no turn begins later
CUSTOM = ("connections", "inflight", "size", "binary", "burst", "idle")


def parser() -> argparse.ArgumentParser:
    """The options."""
    parse = argparse.ArgumentParser(prog="python -m bench", description="Measures wshub beside its peers.")
    parse.add_argument("what", nargs="*", help="names of lines, with wildcards, or kinds; all of them by default")
    much = parse.add_mutually_exclusive_group()
    much.add_argument("--quick", action="store_true", help="what matters most, within three minutes")
    much.add_argument("--tiny", action="store_true", help="each kind once, a few seconds: whether the harness works")
    much.add_argument("--full", action="store_true", help="every combination of connections, sizes and types as well")
    parse.add_argument("--list", action="store_true", help="list the lines and the systems, and stop")
    parse.add_argument("--systems", help="names of systems, with commas, for all lines")
    parse.add_argument("--seconds", type=float, help="of each turn, after the warm-up")
    parse.add_argument("--warmup", type=float, help="seconds [default: 0.5]")
    parse.add_argument("--rounds", type=int)
    parse.add_argument("--twistd", type=Path, default=Path(sys.executable).parent / "twistd", help="which wshub to run")
    parse.add_argument("--pin", choices=PLACES, default="auto", help="to which cores; see bench/turn.py")
    parse.add_argument(
        "--docs", action="store_true", help="also publish: bench/results/published.json, tables and plots"
    )
    parse.add_argument("--redraw", type=Path, metavar="FILE", help="no run: write tables and plots from this JSON")
    parse.add_argument(
        "--docs-folder", type=Path, default=docs.FOLDER, help="where tables and plots go [default: docs]"
    )
    parse.add_argument("--output", type=Path, help="the JSON [default: bench/results/latest.json]")
    one = parse.add_argument_group("a line of one's own: python -m bench echo --connections 100 --size 64")
    one.add_argument("--connections", type=int, help="for fanout, the subscribers")
    one.add_argument("--inflight", type=int)
    one.add_argument("--size", type=int, help="bytes")
    one.add_argument("--binary", action="store_true", default=None)
    one.add_argument("--burst", type=int, help="messages that are published at once")
    one.add_argument("--idle", type=int, help="further connections that say nothing")
    return parse


def choose_lines(options: argparse.Namespace) -> list[Line]:
    """The lines that were asked for."""
    custom = {name: getattr(options, name) for name in CUSTOM if getattr(options, name) is not None}
    if custom:
        line = lines.custom_line(" ".join(options.what), custom)
        if line is None:
            raise BenchError("a line of one's own is echo, fanout or idle: python -m bench echo --connections 100")
        chosen = [line]
    else:
        names = {"quick": lines.quick_lines, "tiny": lines.tiny_lines, "full": lines.full_lines}
        chosen = next((make() for name, make in names.items() if getattr(options, name)), lines.default_lines())
        if options.what:
            chosen = [
                line for line in chosen if any(fnmatch.fnmatch(line.name, w) or w == line.kind for w in options.what)
            ]
    if not chosen:
        raise BenchError(f"there is no line called {' or '.join(options.what)}; see --list")
    change = {name: getattr(options, name) for name in ("seconds", "rounds") if getattr(options, name) is not None}
    if options.systems:
        change["systems"] = tuple(options.systems.split(","))
    return [replace(line, **change) for line in chosen]


def is_meant(line: Line, words: list[str]) -> bool:
    """Whether one of `words` is its kind, or matches its name."""
    return any(word == line.kind or fnmatch.fnmatch(line.name, word) for word in words)


def main() -> int:
    """Run what was asked for; return the exit status: 1 if any system that is here could not be measured."""
    options = parser().parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))  # servers and loads inherit it
    systems = make_systems(options.twistd.absolute())
    if options.redraw:
        docs.write(results.load(options.redraw), options.docs_folder)
        return 0
    chosen = choose_lines(options)
    unknown = {name for line in chosen for name in line.systems} - set(systems)
    if unknown:
        raise BenchError(f"there is no system called {' or '.join(sorted(unknown))}; see --list")
    if options.list:
        for line in chosen:
            print(f"{line.name}: {line.about}\n    {', '.join(line.systems)}")
        print(
            "\n" + "\n".join(f"{s.name}: {s.about}{' – ' + s.missing if s.missing else ''}" for s in systems.values())
        )
        return 0
    return measure(options, chosen, systems)


def measure(options: argparse.Namespace, chosen: list[Line], systems: dict[str, System]) -> int:
    """Run, show, save; return the exit status."""
    warmup = options.warmup if options.warmup is not None else 0.05 if options.tiny else 0.3 if options.quick else 0.5
    described = machine.describe()
    print(machine.in_words(described) + "\n")

    def show(result: LineResult) -> None:
        print(report.table(result, next((s for s in result.line.systems if s.startswith("wshub")), "")), flush=True)

    deadline = QUICK_SECONDS if options.quick else None
    done = Runner(systems, options.pin, options.twistd.absolute(), warmup, deadline).run(chosen, show)
    verdicts = judge(done)
    if not options.tiny:
        print(report.verdict_table(verdicts))
        print(report.remarks(done))
    run = results.as_json(described, {"pin": options.pin, "warmup": warmup}, done, verdicts)
    file = options.output or (results.TINY if options.tiny else results.LATEST)
    results.save(run, file, *([results.PUBLISHED] if options.docs else []))
    if options.docs:
        docs.write(run, options.docs_folder)
    return int(any(why != systems[name].missing for result in done for name, why in result.missing.items()))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
