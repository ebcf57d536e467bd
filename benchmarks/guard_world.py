"""The guards on a world whose truth is known: ``python -m benchmarks.guard_world [--persons 400000]``.

Generates people and the noise around them (`guard_world.sql`), resolves them with the shipped catalog, and scores the
published map; then the same with guards taken away, so that each line shows what the next one is for. Belongs here:
the world, the rules compared, and the report. Does not belong here: scoring (`segmentation/identity/scorecard.py`).
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.measurement import measured
from benchmarks.sections import replace_section
from segmentation.contracts import ensure_schema
from segmentation.identity.candidate import build_candidate
from segmentation.identity.catalog import IdentifierRules, IdentityCatalog, load_identity_catalog
from segmentation.identity.publish import publish
from segmentation.identity.scorecard import evaluate
from segmentation.run import Run
from segmentation.sources.tables import ensure_entity_tables
from segmentation.warehouse import Connection, Warehouse, literal

ROOT = Path(__file__).resolve().parents[1]
RUN = Run("guard-world", datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 1, 5, tzinfo=UTC))

Figures = dict[str, Any]

#: More than any customer can hold: a limit that limits nothing.
_NO_LIMIT = 10**9


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write the section of the report."""
    given = _parse(arguments)
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="strata-guards-") as folder:
        figures = measure(Path(folder), persons=given.persons, seed=given.seed, memory=given.memory)
    figures["date"] = given.date or datetime.now(UTC).date().isoformat()
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1, default=str) + "\n", encoding="utf-8")
    replace_section(given.results, "Guards on a world whose truth is known", render(figures))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Score the guards on a world whose truth is known.")
    parser.add_argument("--persons", type=int, default=400_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory", default="3GB", help="memory that the engine may use")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where data goes meanwhile")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "RESULTS.md")
    parser.add_argument("--date", help="date of the report; default: today")
    parser.add_argument("--json", type=Path, help="where all figures go, for machines")
    return parser.parse_args(arguments)


def build_world(con: Connection, truth: Path, *, persons: int, seed: int, carelessness: float = 1) -> None:
    """Fill ``sources`` with the world's rows and write its truth to a Parquet file."""
    ensure_schema(con, "sources")
    ensure_entity_tables(con)
    script = files("benchmarks").joinpath("guard_world.sql").read_text(encoding="utf-8")
    # What is shared grows with the number of people, so that a small world has the shape of a large one.
    shared = {"kiosks": max(1, persons // 10_000), "testers": max(1, persons // 30_000)}
    con.execute(script.format(persons=persons, seed=seed, carelessness=carelessness, **shared))
    con.execute(f"copy (from world.truth order by all) to {literal(str(truth))} (format parquet)")


def compared_rules(catalog: IdentityCatalog) -> Iterator[tuple[str, IdentityCatalog]]:
    """Yield the shipped rules, and what is left of them without some of the guards."""
    rules = catalog.rules
    yield "R1 to R5, as shipped", catalog
    yield (
        "without R5, the alias by verified address",
        _with(catalog, rules.model_copy(update={"verified_account_alias": 1})),
    )
    yield "R1 and R3 alone: no limits per customer", _with(catalog, _unlimited(rules))
    open_ends = {name: {"degree_limits": {}, "block_values": (), "block_patterns": ()} for name in rules.identifiers}
    yield "no guard: connected components", _with(catalog, _changed(_unlimited(rules), open_ends, block_values=()))


def _with(catalog: IdentityCatalog, rules: IdentifierRules) -> IdentityCatalog:
    return replace(catalog, rules=rules)


def _unlimited(rules: IdentifierRules) -> IdentifierRules:
    return _changed(rules, {name: {"max_per_customer": _NO_LIMIT} for name in rules.identifiers}, max_nodes=_NO_LIMIT)


def _changed(rules: IdentifierRules, types: dict[str, dict[str, object]], **changes: object) -> IdentifierRules:
    identifiers = {name: kind.model_copy(update=types.get(name, {})) for name, kind in rules.identifiers.items()}
    return rules.model_copy(update={"identifiers": identifiers, **changes})


def measure(folder: Path, *, persons: int, seed: int, memory: str = "3GB") -> Figures:
    """Build the world, resolve it under each set of rules, and return what came out; last a more careless world."""
    catalog = load_identity_catalog(ROOT / "catalog")
    worlds = [(1.0, list(compared_rules(catalog))), (2.0, [("as shipped, people twice as careless", catalog)])]
    figures: Figures = {"persons": persons, "seed": seed, "machine": describe_machine(), "lines": []}
    for carelessness, compared in worlds:
        home = folder / f"careless-{carelessness:g}"
        home.mkdir()
        truth = home / "truth.parquet"
        warehouse = Warehouse(home / "warehouse.duckdb", home / "published.duckdb", memory_limit=memory)
        with warehouse.write() as con:
            build_world(con, truth, persons=persons, seed=seed, carelessness=carelessness)
            for name, rules in compared:
                figures["lines"].append({"rules": name, **_resolve(con, truth, rules)})
        shutil.rmtree(home)
    return figures


def _resolve(con: Connection, truth: Path, catalog: IdentityCatalog) -> Figures:
    """Resolve from nothing under a set of rules, and score the result."""
    con.execute("drop schema if exists identity cascade")
    ensure_schema(con, "identity")
    con.execute("delete from ops.candidates where stage = 'identity'")
    with measured() as taken:
        build_candidate(con, RUN, catalog)
        publish(con, RUN)
    card = evaluate(con, truth, catalog.rules, recorded_at=RUN.recorded_at)
    [(raw, largest)] = con.execute("select raw_max_component, max_customer_nodes from identity.candidate").fetchall()
    return {
        "metrics": {one.metric: asdict(one) for one in card.metrics},
        "raw_max_component": raw,
        "max_customer_nodes": largest,
        **_describe(con, truth),
        **taken.as_dict(),
    }


def _describe(con: Connection, truth: Path) -> Figures:
    """Count identifiers and edges of the world, and the edges that join what is not one entity's."""
    [(identifiers, edges)] = con.execute(
        "select (select count(*) from identity.identifiers), (select count(*) from (select distinct node_a, node_b "
        "from identity.edges))"
    ).fetchall()
    [(bad,)] = con.execute(
        "with owners as (select i.node_id, any_value(t.entity_id) as entity_id from identity.identifiers as i "
        f"join read_parquet({literal(str(truth))}) as t on t.id_type = i.id_type and t.id_value = i.id_value "
        "group by i.node_id) select count(*) from (select distinct node_a, node_b from identity.edges) as e "
        "left join owners as a on a.node_id = e.node_a left join owners as b on b.node_id = e.node_b "
        "where a.entity_id is distinct from b.entity_id"
    ).fetchall()
    return {"identifiers": identifiers, "edges": edges, "bad_edges": bad}


_WORLD = (
    "join what is not one entity's (`benchmarks/guard_world.sql`: kiosks, placeholders, testers, households, borrowed "
    "logins, recycled numbers, mistyped addresses). Made up: it ranks rules, and does not foretell a company's figures."
)
_HEADER = (
    "| rules | pair precision | pair recall | ceiling | B³ F1 | known profiles mixing people | with strangers "
    "| largest customer | bad edges | CPU s | peak MiB |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def render(figures: Figures) -> str:
    """Return the section's text."""
    machine, shipped = figures["machine"], figures["lines"][0]
    repeat = f"python -m benchmarks.guard_world --persons {figures['persons']} --seed {figures['seed']}"
    world = (
        f"{figures['persons']:,} persons, {shipped['identifiers']:,} identifiers, {shipped['edges']:,} edges, "
        f"of which {shipped['bad_edges'] / shipped['edges']:.1%} {_WORLD}"
    )
    how = (
        f"Measured {figures['date']} on {machine['cores']} cores ({machine['processor']}), load at the start "
        f"{machine['load']}. Repeat: `{repeat}`."
    )
    table = "\n".join([_HEADER, *map(_row, figures["lines"])])
    return "\n\n".join([world, "\n".join(_aims(shipped)), table, how])


def _aims(shipped: Figures) -> Iterator[str]:
    score = {name: one["value"] for name, one in shipped["metrics"].items()}
    mixing, gap = score["known_profiles_mixing_people"], score["recall_ceiling"] - score["pairwise_recall"]
    precision = score["pairwise_precision"]
    yield _aim("precision of pairs at least 0.975", f"{precision:.4f}", precision >= 0.975)
    yield _aim("no known profile mixes two people", f"{mixing:.0f}", mixing == 0)
    yield _aim("recall within a point of its ceiling", f"{100 * gap:.2f} points", gap <= 0.01)


def _aim(aim: str, value: str, is_met: object) -> str:
    return f"* **{'met' if is_met else 'missed'}**: {aim}; {value}."


def _row(line: Figures) -> str:
    score = {name: one["value"] for name, one in line["metrics"].items()}
    cells = [
        line["rules"],
        *(f"{score[name]:.4f}" for name in ("pairwise_precision", "pairwise_recall", "recall_ceiling", "b3_f1")),
        *(f"{score[name]:,.0f}" for name in ("known_profiles_mixing_people", "known_profiles_with_strangers")),
        f"{line['max_customer_nodes']:,}",
        f"{line['bad_edges'] / line['edges']:.1%}",
        f"{line['cpu']:.1f}",
        f"{line['peak_bytes'] >> 20:,}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
