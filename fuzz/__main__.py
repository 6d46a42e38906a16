"""Run the fuzzers: ``python -m fuzz [--seconds 60] [--seed 1] [name ...]``."""

import argparse
import importlib
import pkgutil
import sys
import time
import traceback
from types import ModuleType

import fuzz


def find_fuzzers() -> dict[str, ModuleType]:
    """The modules that have a `run`, by name."""
    names = sorted(each.name for each in pkgutil.iter_modules(fuzz.__path__) if not each.name.startswith("_"))
    modules = {name: importlib.import_module(f"fuzz.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "run")}


def main(arguments: list[str] | None = None) -> int:
    """Run the fuzzers that are named, or all; the exit status is 1 if one of them has found something."""
    fuzzers = find_fuzzers()
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Mutated inputs for the hub's parsers.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(fuzzers)}; all of them if none")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each of them [default: 60]")
    parser.add_argument("--seed", type=int, default=None, help="for the same inputs again [default: a new one]")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in fuzzers:
            parser.error(f"there is no fuzzer {name!r}; there are {', '.join(fuzzers)}")
    seed = time.time_ns() % 1_000_000_007 if options.seed is None else options.seed
    findings = 0
    for name in options.names or fuzzers:
        print(f"{name}: {options.seconds:g} seconds with --seed {seed}", flush=True)
        try:
            count = fuzzers[name].run(options.seconds, seed)
        except Exception:
            findings += 1
            traceback.print_exc()
            print(f"{name}: found something, see above; again with: python -m fuzz {name} --seed {seed}", flush=True)
        else:
            print(f"{name}: {count:,} inputs, nothing found", flush=True)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
