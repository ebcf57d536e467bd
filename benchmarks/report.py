"""The report: figures as Markdown, with the aims and what misses them said first.

Belongs here: words and tables. Does not belong here: measuring (`worker.py`) or running (`chain.py`).
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

#: What is aimed at, at the largest size of the issue.
LARGE = 1_000_000
MAX_RATIO = 1.5
MAX_PEAK_BYTES = 4 << 30
MAX_OVERHEAD_SECONDS = 15
MAX_GENERATOR_SECONDS = 120

_MIB = 1 << 20

_LIMITS = {
    "sources": "read all files of a feed at once, cast, create the table. "
    "The stage also hashes files and keeps a ledger, numbers lines, quarantines rows with reasons, drops duplicates.",
    "identity": "distinct tuples of raw identifiers, connected components, the map. "
    "With all tables: registry, identifiers, edges, customers, map, look-up, history, events, accounts, consents, "
    "profiles, with all columns and stamps, and the export of the state. "
    "The stage also normalises values, applies guards and keeps ids over time.",
    "features": "one hand-written statement into one table; row for row equal to the stage's. "
    "The stage starts dbt (several CPU-seconds whatever the size), keeps tables between the steps and tests them.",
    "segments": "all rules in one statement over one scan, membership, and the log of what changed. "
    "With all tables: history and effective segments. "
    "The stage also finds the cause of each change, checks guards, and keeps conflicts, versions and sizes.",
    "costs": "usage by customer and day joined to segments, and the bill shared out by it. "
    "The stage also follows membership over time, shares out whole micros and reconciles them.",
    "sync": "one insert of every customer's state into SQLite through the standard library, and one file. "
    "With all tables: the desired state in a second SQLite file and in the warehouse, and the store read back and "
    "compared. The stage also minds consent by destination, positions, epochs and receipts.",
}

_INTRODUCTION = (
    "The chain at several sizes, each stage beside its limit: the least work of the bare engine that gives the same "
    "result. CPU seconds count user and system time of a stage and its children, and are what to compare; wall "
    "seconds grow with whatever else the machine does. Ratio = CPU of the stage / CPU of its limit. Where a stage "
    "publishes more than its scan or join gives, a second limit writes those tables as well, by hand."
)

_REPEAT = """```
make bench                                            # all sizes, about a quarter of an hour
python -m benchmarks.chain --customers 10000,100000   # smaller
python -m benchmarks.chain --help                     # repeats, folders, figures as JSON
```"""


def render(results: dict[str, Any]) -> str:
    """Return the report of a measurement."""
    parts = [
        "# Benchmarks",
        _INTRODUCTION,
        _machine(results),
        "## Aims",
        *_aims(results),
        *(_size(results, size) for size in results["sizes"]),
        _growth(results["sizes"]),
        _generator(results["sizes"]),
        _orchestration(results.get("orchestration")),
        "## What the limits are",
        "\n".join(f"* **{stage}**: {text}" for stage, text in _LIMITS.items()),
        "## How to repeat",
        _REPEAT,
        f"These figures: `{results['command']}`",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _machine(results: dict[str, Any]) -> str:
    machine = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return (
        f"Measured {results['date']} on {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory_bytes'] / (1 << 30):.0f} GiB of memory, {machine['system']}, load average at the start "
        f"{machine['load']}. Python {machine['python']}, {versions}. "
        f"{results['events_per_customer']:g} events and requests per customer over {results['days']} days; "
        f"each size measured {results['repeat']} time{'s' if results['repeat'] > 1 else ''}."
    )


def _aims(results: dict[str, Any]) -> Iterable[str]:
    sizes = results["sizes"]
    largest = sizes[-1] if sizes else None
    lines = []
    if largest is not None:
        if largest["customers"] < LARGE:
            yield f"The aims are for {LARGE:,} customers; the largest size here is {largest['customers']:,}."
        measured = largest | {"stages": _ended(largest)}
        lines += [
            _aim(False, f"every stage ends at {largest['customers']:,} customers", f"{stage}: {found['failure']}")
            for stage, found in largest["stages"].items()
            if "failure" in found
        ]
        if measured["stages"]:
            lines += [_ratio_aim(measured), _peak_aim(measured)]
        generator = largest["generator"]
        lines.append(
            _aim(
                generator["wall"] < MAX_GENERATOR_SECONDS,
                f"the generator stays under {MAX_GENERATOR_SECONDS} s",
                f"{generator['wall']:.0f} s ({generator['cpu']:.0f} CPU-s), {_mib(generator['peak_bytes'])} MiB",
            )
        )
    if orchestration := results.get("orchestration"):
        overhead = orchestration["overhead"]
        lines.append(
            _aim(
                overhead["wall"] < MAX_OVERHEAD_SECONDS,
                f"orchestration of the whole chain stays under {MAX_OVERHEAD_SECONDS} s",
                f"{overhead['wall']:.1f} s ({overhead['cpu']:.1f} CPU-s)",
            )
        )
    yield "\n".join(lines)


def _ratio_aim(size: dict[str, Any]) -> str:
    ratios = {stage: _ratio(figures) for stage, figures in size["stages"].items() if "limit" in figures}
    above = {stage: ratio for stage, ratio in ratios.items() if ratio > MAX_RATIO}
    shown = ", ".join(f"{stage} {ratio:.2f}" for stage, ratio in sorted(above.items(), key=lambda item: -item[1]))
    whole = {
        stage: _ratio(figures, "limit_tables") for stage, figures in size["stages"].items() if "limit_tables" in figures
    }
    beside = ", ".join(f"{stage} {ratio:.2f}" for stage, ratio in whole.items())
    return _aim(
        not above,
        f"no stage above {MAX_RATIO} × its limit at {size['customers']:,} customers",
        (f"above it: {shown}" if above else f"the highest is {max(ratios.values()):.2f}")
        + (f" (against a limit that writes the other published tables too: {beside})" if beside else ""),
    )


def _peak_aim(size: dict[str, Any]) -> str:
    peaks = {stage: figures["peak_bytes"] for stage, figures in size["stages"].items()}
    peaks |= {
        f"gate of {stage}": figures["gate"]["peak_bytes"]
        for stage, figures in size["stages"].items()
        if "gate" in figures
    }
    highest = max(peaks, key=lambda name: peaks[name])
    return _aim(
        peaks[highest] < MAX_PEAK_BYTES,
        f"peak memory under {MAX_PEAK_BYTES // _MIB:,} MiB at {size['customers']:,} customers",
        f"the highest is {_mib(peaks[highest])} MiB ({highest})",
    )


def _aim(is_met: bool, aim: str, found: str) -> str:
    return f"* {'**met**' if is_met else '**missed**'}: {aim}; {found}."


def _size(results: dict[str, Any], size: dict[str, Any]) -> str:
    events = int(size["customers"] * results["events_per_customer"])
    rows = []
    stages = _ended(size)
    for stage, figures in stages.items():
        limit, tables, gate = (figures.get(name) for name in ("limit", "limit_tables", "gate"))
        rows.append(
            (
                stage,
                _seconds(figures["wall"]),
                _seconds(figures["cpu"]),
                _seconds(limit["cpu"]) if limit else "",
                f"{_ratio(figures):.2f}" if limit else "",
                _seconds(tables["cpu"]) if tables else "",
                f"{_ratio(figures, 'limit_tables'):.2f}" if tables else "",
                _mib(figures["peak_bytes"]),
                _seconds(gate["cpu"]) if gate else "",
                _mib(gate["peak_bytes"]) if gate else "",
            )
        )
    header = (
        "stage",
        "wall s",
        "CPU s",
        "limit CPU s",
        "ratio",
        "limit with all tables",
        "ratio",
        "peak MiB",
        "gate CPU s",
        "gate peak MiB",
    )
    parts = "; ".join(
        f"{stage}: " + ", ".join(f"{name} {part['cpu']:.1f}" for name, part in figures["parts"].items())
        for stage, figures in stages.items()
    )
    stored = f" Warehouse: {stages['marts']['warehouse_bytes'] / _MIB:,.0f} MiB." if "marts" in stages else ""
    return (
        f"## {size['customers']:,} customers, {events:,} events\n\n{_table(header, rows)}\n\n"
        f"CPU seconds by part: {parts}.{stored}"
    )


def _growth(sizes: list[dict[str, Any]]) -> str:
    if len(sizes) < 2:
        return ""
    rows = []
    for stage in _ended(sizes[0]):
        cells = [stage, _seconds(sizes[0]["stages"][stage]["cpu"])]
        for before, after in pairwise(sizes):
            if stage not in _ended(after) or stage not in _ended(before):
                cells += ["", ""]
                continue
            first, second = before["stages"][stage]["cpu"], after["stages"][stage]["cpu"]
            cells += [_seconds(second), f"{second / first:.1f}"]
        rows.append(tuple(cells))
    header = ["stage", f"{sizes[0]['customers']:,}"]
    for before, after in pairwise(sizes):
        header += [f"{after['customers']:,}", f"× for {after['customers'] / before['customers']:g} ×"]
    return f"## Growth\n\nCPU seconds by number of customers.\n\n{_table(header, rows)}"


def _generator(sizes: list[dict[str, Any]]) -> str:
    rows = [
        (
            f"{size['customers']:,}",
            f"{sum(size['generator']['rows'].values()):,}",
            f"{size['generator']['bytes'] / _MIB:,.0f}",
            _seconds(size["generator"]["wall"]),
            _seconds(size["generator"]["cpu"]),
            _mib(size["generator"]["peak_bytes"]),
        )
        for size in sizes
    ]
    header = ("customers", "rows of all feeds", "MiB on disk", "wall s", "CPU s", "peak MiB")
    return f"## The generator\n\n{_table(header, rows)}" if rows else ""


def _orchestration(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    named = (
        ("`strata run`, first run", found["first"]),
        ("`strata run`, second run, no new files", found["second"]),
        ("the stages and marts by themselves", found["total_work"]),
        ("overhead of the first run", found["overhead"]),
    )
    rows = [
        (
            name,
            _seconds(figures["wall"]),
            _seconds(figures["cpu"]),
            _mib(figures["peak_bytes"]) if "peak_bytes" in figures else "",
        )
        for name, figures in named
    ]
    work = ", ".join(f"{stage} {figures['cpu']:.1f}" for stage, figures in found["work"].items())
    return (
        f"## Orchestration, {found['customers']:,} customers\n\n"
        f"{_table(('', 'wall s', 'CPU s', 'peak MiB'), rows)}\n\n"
        "The overhead is loading Dagster, dbt and Great Expectations, all "
        f"gates, records and metadata. CPU seconds of the stages by themselves: {work}."
    )


def _ended(size: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the stages that were measured to their end."""
    return {stage: figures for stage, figures in size["stages"].items() if "failure" not in figures}


def _ratio(figures: dict[str, Any], limit: str = "limit") -> float:
    return float(figures["cpu"] / max(figures[limit]["cpu"], 0.001))


def _seconds(value: float) -> str:
    return f"{value:,.2f}" if value < 10 else f"{value:,.1f}"


def _mib(value: float) -> str:
    return f"{value / _MIB:,.0f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
