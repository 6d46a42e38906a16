"""The tables on the terminal."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from bench.line import number
from bench.run import LineResult
from bench.stats import Figures, ratio, spread, spread_of
from bench.targets import Verdict


@dataclass(frozen=True)
class Column:
    """One column: a metric, what it is called, and whether it is shown with its spread and with ours divided by it."""

    metric: str
    title: str
    has_spread: bool = False
    has_ratio: bool = False


FULL = 0.95  # processor seconds a second from which on the load generator counts as the limit
NOISE = 0.15  # and those of other processes from which on the machine was not quiet
CORES = (Column("server_cores", "server"), Column("client_cores", "load"), Column("other_cores", "others"))


def cpu_columns(what: str, many: str, latency: str) -> tuple[Column, ...]:
    """The columns of most kinds."""
    return (
        Column("cpu", f"µs CPU/{what}", True, True),
        Column("rate", f"{many}/s", False, True),
        Column("p50", f"{latency} p50 µs"),
        Column("p99", "p99 µs"),
        *CORES,
    )


COLUMNS = {
    "echo": cpu_columns("message", "messages", "round trip"),
    "fanout": cpu_columns("delivery", "deliveries", "to the last"),
    "connects": cpu_columns("connection", "connections", "to the 101"),
    "storm": (
        Column("served", "served"),
        Column("cpu", "µs CPU/connection", True, True),
        Column("last_ms", "last 101 ms", True),
        *CORES,
    ),
    "idle": (
        Column("private", "KiB private", True, True),
        Column("hub_private", "private in first process"),
        Column("service_private", "private in others"),
    ),
    "service": (
        Column("private_mib", "MiB private", True, True),
        Column("rss_mib", "MiB resident"),
        Column("first_ms", "first 101 ms", True, True),
        Column("slowest_ms", "slowest ms"),
    ),
}


def table(result: LineResult, ours: str = "wshub") -> str:
    """A line of the table, with all its systems."""
    columns = COLUMNS[result.line.kind]
    if ours not in result.rounds:
        columns = tuple(replace(column, has_ratio=False) for column in columns)
    head = ["system"]
    for column in columns:
        head += [
            column.title,
            *(["min–max"] if column.has_spread else []),
            *([f"{ours} is"] if column.has_ratio else []),
        ]
    rows = [row(name, rounds, result.rounds.get(ours, []), columns) for name, rounds in result.rounds.items()]
    count = max(map(len, result.rounds.values()), default=0)
    title = f"{result.line.name}: {result.line.about} ({number(count, 'round')})"
    notes = [f"  {name}: {why}" for name, why in result.missing.items()]
    if any(map(is_limited_by_load, result.rounds.values())):
        notes.append("  * the load generator was the limit: the server can do more")
    return "\n".join([title, *(align([head, *rows]) if rows else []), *notes, ""])


def row(name: str, rounds: list[Figures], ours: list[Figures], columns: tuple[Column, ...]) -> list[str]:
    """One system."""
    cells = [name]
    for column in columns:
        found = spread(rounds, column.metric)
        cells.append(short(found.median) if found else "–")
        if column.metric == "rate" and is_limited_by_load(rounds):
            cells[-1] += "*"
        if column.has_spread:
            cells.append(f"{short(found.least)}–{short(found.most)}" if found else "–")
        if column.has_ratio:
            times = None if rounds is ours else ratio(ours, rounds, column.metric)
            cells.append(f"{times.median:.2f} ×" if times else "")
    return cells


def is_limited_by_load(rounds: list[Figures]) -> bool:
    """Whether the load generator had nothing left to give."""
    busy = spread(rounds, "client_cores")
    return busy is not None and busy.median > FULL


def short(value: float) -> str:
    """Three digits, or a whole number."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def align(rows: list[list[str]]) -> list[str]:
    """Columns one under the other, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pads: list[Callable[[str, int], str]] = [str.ljust, *[str.rjust] * (len(widths) - 1)]
    return [
        "  " + "  ".join(pad(cell, width) for pad, cell, width in zip(pads, cells, widths, strict=True))
        for cells in rows
    ]


def verdict_table(verdicts: list[Verdict]) -> str:
    """All targets that were measured, and what became of them."""
    rows = [["target", "found", "min–max", ""]]
    for verdict in verdicts:
        if found := verdict.found:
            word = "reached" if verdict.is_reached else "NOT reached"
            rows.append([verdict.target.about, f"{found.median:.2f}", f"{found.least:.2f}–{found.most:.2f}", word])
    return "\n".join(["To reach", *align(rows), ""]) if len(rows) > 1 else ""


def remarks(results: list[LineResult]) -> str:
    """What a reader has to know before quoting anything."""
    others = [
        figures["other_cores"]
        for result in results
        for rounds in result.rounds.values()
        for figures in rounds
        if "other_cores" in figures
    ]
    found = spread_of(others)
    if found and found.median > NOISE:
        return (
            f"The machine was not quiet: other processes took {found.median:.2f} cores meanwhile "
            f"({found.least:.2f}–{found.most:.2f}). Do not quote throughput, latency or times; ratios hold better.\n"
        )
    return ""
