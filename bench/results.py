"""The results as JSON: everything that was measured, round by round."""

import json
from pathlib import Path
from typing import Any

from bench.run import LineResult
from bench.stats import summary
from bench.targets import Verdict

FOLDER = Path(__file__).parent / "results"
LATEST = FOLDER / "latest.json"
TINY = FOLDER / "tiny.json"
PUBLISHED = FOLDER / "published.json"


def as_json(
    machine: dict[str, object], options: dict[str, Any], results: list[LineResult], verdicts: list[Verdict]
) -> Any:
    """The whole run."""
    return {
        "machine": machine,
        "options": options,
        "units": "cpu, cpu_hub, cpu_service, p50, p99: µs; rate: per second; *_cores: processor seconds per second; "
        "hub_*, service_*: KiB a connection; *_mib: MiB; *_ms: milliseconds",
        "lines": {
            result.line.name: {
                "about": result.line.about,
                "kind": result.line.kind,
                "load": result.line.load,
                "seconds": result.line.seconds,
                "systems": {
                    name: {"summary": summary(rounds), "rounds": rounds} for name, rounds in result.rounds.items()
                },
                "missing": result.missing,
            }
            for result in results
        },
        "targets": [
            {
                "target": verdict.target.about,
                "found": vars(verdict.found) if verdict.found else None,
                "reached": verdict.is_reached,
            }
            for verdict in verdicts
        ],
    }


def save(run: Any, *files: Path) -> None:
    """Write the run to each of `files`."""
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n")


def load(file: Path) -> Any:
    """A run that was saved."""
    return json.loads(file.read_text())
