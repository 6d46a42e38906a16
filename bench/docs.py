"""What the documentation shows: plots, and the tables between two marks of one page. Made from the JSON of a run."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench import machine, plots
from bench.plots import Bar
from bench.report import COLUMNS, FULL, short

FOLDER = Path(__file__).parent.parent / "docs"
PAGE = "explanation/performance.md"
BEGIN, END = "<!-- what follows is written by: python -m bench --docs -->", "<!-- and ends here -->"
OURS = ("wshub", "wshub-asyncio", "wshub-classic")

BARS = {
    "perf-echo.svg": ("cpu", "µs", ("echo-100x1-64B", "echo-100x8-64B")),
    "perf-large.svg": ("cpu", "µs", ("echo-20x1-64KiB", "echo-4x1-1MiB")),
    "perf-round-trip.svg": ("p50", "µs", ("round-trip",)),
    "perf-fanout.svg": ("cpu", "µs", ("fanout-1000x1", "fanout-1000x4")),
    "perf-connects.svg": ("cpu", "µs", ("connects",)),
    "perf-memory.svg": ("private", "KiB", ("idle-10000",)),
}
"""The plots of bars: which metric, its unit, of which lines."""
TITLES = {
    "cpu": "processor time for each {each}, all processes",
    "p50": "median",
    "private": "private memory for each connection, all processes",
}
EACH = {"echo": "message", "fanout": "delivery", "connects": "connection"}


def write(run: Any, folder: Path = FOLDER) -> None:
    """Write all of it into `folder`, the documentation's."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    drawn = {name: draw_bars(run, *what) for name, what in BARS.items()} | {"perf-growth.svg": draw_growth(run)}
    for name, drawing in drawn.items():
        if drawing:
            (images / name).write_text(drawing)
    page = folder / PAGE
    page.parent.mkdir(parents=True, exist_ok=True)
    text = page.read_text() if page.exists() else f"# Performance\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    names = [name for name, drawing in drawn.items() if drawing]
    page.write_text(f"{before}{BEGIN}\n\n{describe(run, names)}\n{END}{after}")


def draw_bars(run: Any, metric: str, unit: str, names: Iterable[str]) -> str:
    """A plot of some lines; empty if none of them was measured."""
    panels = []
    for name in names:
        line = run["lines"].get(name)
        found = {s: each["summary"] for s, each in line["systems"].items()} if line else {}
        of_line = [
            Bar(s, each[metric]["median"], each[metric]["least"], each[metric]["most"], s in OURS)
            for s, each in found.items()
            if metric in each
        ]
        if line and of_line:
            title = TITLES[metric].format(each=EACH.get(line["kind"], ""))
            panels.append((f"{line['about']} – {title}", sorted(of_line, key=lambda bar: bar.median)))
    return plots.bars(panels, unit) if panels else ""


def draw_growth(run: Any) -> str:
    """Processor time over the number of connections."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for name, line in run["lines"].items():
        if name.startswith("growth-") and name.endswith("-connections"):
            for system, each in line["systems"].items():
                connections = line["load"]["idle"] + line["load"]["connections"]
                curves.setdefault(system, []).append((connections, each["summary"]["cpu"]["median"]))
    if not any(len(curve) > 1 for curve in curves.values()):
        return ""
    title = "10 active connections among many – processor time for each message, µs"
    return plots.curves(title, curves, "connections", "wshub")


def describe(run: Any, images: list[str]) -> str:
    """The text: the machine, the targets, the plots, and a table for each line."""
    parts = [machine.in_words(run["machine"]).replace("\n", ".\n\n") + ".\n"]
    words = {True: "yes", False: "no", None: "not measured"}
    if run["targets"]:
        rows = [
            [each["target"], spread_cell(each["found"], "{:.2f}".format), words[each["reached"]]]
            for each in run["targets"]
        ]
        parts.append(markdown(["to reach", "found (min–max)", "reached"], rows))
    parts += [f"![{name.removesuffix('.svg').removeprefix('perf-')}](../images/{name})\n" for name in images]
    for name, line in run["lines"].items():
        columns = COLUMNS[line["kind"]]
        rows = []
        for system, each in line["systems"].items():
            cells = []
            for column in columns:
                found = each["summary"].get(column.metric)
                cells.append(
                    spread_cell(found, short) if column.has_spread else short(found["median"]) if found else "–"
                )
                if column.metric == "rate" and is_limited_by_load(each["summary"]):
                    cells[-1] += "*"
            rows.append([system, *cells])
        heads = ["system", *(f"{c.title} (min–max)" if c.has_spread else c.title for c in columns)]
        notes = [f"{system}: {why}.\n" for system, why in line["missing"].items()]
        parts += [f"### {name}\n", f"{line['about']}.\n", *([markdown(heads, rows)] if rows else []), *notes]
    return "\n".join(parts)


def is_limited_by_load(summary: Any) -> bool:
    """Whether the load generator had nothing left to give: a star says so, as on the terminal."""
    return "client_cores" in summary and summary["client_cores"]["median"] > FULL


def spread_cell(found: dict[str, float] | None, show: Any) -> str:
    """The median, and the least and the most."""
    return f"{show(found['median'])} ({show(found['least'])}–{show(found['most'])})" if found else "–"


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"
