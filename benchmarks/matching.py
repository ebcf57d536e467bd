"""Matching against labels, and against plain Splink: ``python -m benchmarks.matching``.

Belongs here: scoring labelled sets with thresholds chosen on the others, and the time of a large register beside plain
Splink. Does not belong here: matching itself (`segmentation/identity/matching`).

``--labels`` scores the sets of the real data folder, each with the settings that do best on the rest of them.
``--file FILE --truth COLUMN`` scores any labelled table by the product's own settings. ``--people N`` measures a
made-up register of N records; ``--path splink`` measures Splink on it as its documentation shows. Results go to
standard output as JSON lines.
"""

import argparse
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from benchmarks.matching_world import write_people
from benchmarks.measurement import measured
from segmentation.identity.components import Integers
from segmentation.identity.evaluation import score_clusters
from segmentation.identity.matching.clusters import Ladder, cluster
from segmentation.identity.matching.model import model_of
from segmentation.identity.matching.prediction import cluster_records, match_records
from segmentation.identity.matching.profile import recognise
from segmentation.identity.matching.training import learn
from segmentation.warehouse import Connection, literal

DATA = Path(os.environ.get("STRATA_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "identity"

#: Labelled sets: file, SQL of the truth, columns that hold it.
SETS = {
    "historical_50k": ("historical_figures_with_errors_50k.parquet", "cluster", ("cluster",)),
    "febrl3": ("febrl3.csv", "split_part(rec_id, '-', 2)", ("rec_id",)),
    "fake_1000": ("fake_1000.csv", "cluster", ("cluster",)),
}

#: Settings among which the other sets choose; the product's own are the first.
STARTS, DENSITIES = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0), (0.5, 0.0, 0.3, 0.4, 0.6)


@dataclass(frozen=True)
class Matched:
    """A labelled set with its scored pairs."""

    name: str
    truth: Integers
    node_a: Integers
    node_b: Integers
    weight: np.ndarray

    def scores(self, ladder: Ladder) -> dict[str, float]:
        """Return pairwise and B-cubed F1 of the clusters that a ladder makes."""
        found = cluster(len(self.truth), self.node_a, self.node_b, self.weight, ladder)
        con = duckdb.connect()
        con.register("found", {"record": np.arange(len(found)), "cluster": found, "truth": self.truth})
        scored = {one.metric: one.value for one in score_clusters(con, "select * from found", resamples=2)}
        wanted = ("pairwise_precision", "pairwise_recall", "pairwise_f1", "b3_f1")
        return {name: round(float(scored[name] or 0), 4) for name in wanted}


def read_set(path: Path, truth: str, held: tuple[str, ...]) -> Matched:
    """Match a labelled file without looking at its labels."""
    con = duckdb.connect()
    con.execute("set threads = 2")
    reader = "read_csv({}, all_varchar = true)" if path.suffix == ".csv" else "read_parquet({})"
    rows = reader.format(literal(str(path)))
    con.execute(f"create table rows as select row_number() over () - 1 as row_id, * from {rows}")
    profile = recognise(con, "rows", leave_out=("row_id", *held))
    con.execute(f"create table records as {profile.select('rows', 'row_id')}")
    model = model_of(learn(con, "records", profile.kinds), {})
    match_records(con, "records", model, "matches", least_weight=min(STARTS))
    pairs = con.execute("select record_a, record_b, match_weight from matches order by all").fetchnumpy()
    labels = con.execute(f"select {truth} as truth from rows order by row_id").fetchnumpy()["truth"]
    _, codes = np.unique(np.asarray(labels).astype(str), return_inverse=True)
    a, b = (np.asarray(pairs[name], dtype=np.int64) for name in ("record_a", "record_b"))
    return Matched(path.stem, codes.astype(np.int64), a, b, np.asarray(pairs["match_weight"], dtype=np.float64))


def score_held_out(sets: dict[str, Matched]) -> Iterator[dict[str, Any]]:
    """Yield each set's scores under the settings that do best, on average, on the others; and by other settings."""
    grid = [Ladder(start=start, density=density) for start, density in product(STARTS, DENSITIES)]
    table = {name: {ladder: one.scores(ladder) for ladder in grid} for name, one in sets.items()}
    for name, scores in table.items():
        others = [rest for other, rest in table.items() if other != name]

        def worth(ladder: Ladder, others: list[dict[Ladder, dict[str, float]]] = others) -> float:
            return sum(rest[ladder]["pairwise_f1"] for rest in others)

        chosen = max(grid, key=worth)
        plain = max((ladder for ladder in grid if not ladder.density), key=worth)
        for settings, ladder in (("chosen on the others", chosen), ("without ladder", plain), ("product", Ladder())):
            yield {
                "set": name,
                "settings": settings,
                "start": ladder.start,
                "density": ladder.density,
                **scores[ladder],
            }


def score_halves(one: Matched, *, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Yield scores of one random half of a set's entities under the settings that do best on the other half."""
    half = np.random.default_rng(seed).random(int(one.truth.max()) + 1) < 0.5
    parts = [_part(one, side[one.truth]) for side in (half, ~half)]
    grid = [Ladder(start=start, density=density) for start, density in product(STARTS, DENSITIES)]
    for learned, scored in (parts, parts[::-1]):
        for settings, choice in (("ladder", grid), ("without ladder", [one for one in grid if not one.density])):
            best = max(choice, key=lambda ladder: learned.scores(ladder)["pairwise_f1"])
            facts = {"start": best.start, "density": best.density}
            yield {"set": f"{one.name}, half", "settings": settings, **facts, **scored.scores(best)}


def _part(one: Matched, chosen: np.ndarray) -> Matched:
    places = np.cumsum(chosen) - 1
    kept = chosen[one.node_a] & chosen[one.node_b]
    return Matched(one.name, one.truth[chosen], places[one.node_a[kept]], places[one.node_b[kept]], one.weight[kept])


def measure_ours(con: Connection) -> Iterator[dict[str, Any]]:
    """Train, match and cluster table ``people``, then match one record in a hundred as new; yield what each took."""
    con.execute(f"create table records as select record_id, {PEOPLE_READS} from people")
    with measured() as trained:
        model = model_of(learn(con, "records", PEOPLE_KINDS), {})
    records = int(con.execute("select count(*) from people").fetchall()[0][0])
    with measured() as found:
        match_records(con, "records", model, "matches", least_weight=0.0)
        clusters = cluster_records(con, "matches", Ladder(), records)
    con.register("found", {"record": np.arange(records), "cluster": clusters})
    peak = max(trained.peak_bytes, found.peak_bytes)
    yield {"path": "ours", **_took(trained.cpu, found.cpu, peak), **_people_scores(con)}
    con.execute("create table newcomers as select record_id from records where hash(record_id) % 100 = 0")
    with measured() as increment:
        match_records(con, "records", model, "increment", least_weight=0.0, new="newcomers")
    yield {"path": "ours, 1 in 100 records new", "match_cpu": round(increment.cpu, 1)}


#: The register's columns by kind, as a catalog would say them.
PEOPLE_KINDS = {
    "given": "given_name",
    "family": "surname",
    "birth": "birth_date",
    "city": "city",
    "postcode": "postcode",
    "street": "street",
    "mail": "email",
    "phone": "phone",
}
PEOPLE_READS = (
    "first_name as given, last_name as family, birth_date as birth, city, postal_code as postcode, "
    "street_address as street, email as mail, phone"
)


def measure_splink(con: Connection) -> Iterator[dict[str, Any]]:
    """Train, match and cluster table ``people`` as Splink's documentation shows; yield what each took."""
    import splink.comparison_library as library  # noqa: PLC0415 - only this part needs it
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on  # noqa: PLC0415 - likewise

    settings = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name="record_id",
        comparisons=[
            library.NameComparison("first_name"),
            library.NameComparison("last_name"),
            library.DateOfBirthComparison("birth_date", input_is_string=True),
            library.ExactMatch("city").configure(term_frequency_adjustments=True),
            library.LevenshteinAtThresholds("postal_code", [1, 2]),
            library.JaroWinklerAtThresholds("street_address", [0.9]),
            library.EmailComparison("email"),
            library.ExactMatch("phone"),
        ],
        blocking_rules_to_generate_predictions=[
            block_on("first_name", "last_name"),
            block_on("last_name", "birth_date"),
            block_on("first_name", "birth_date"),
            block_on("postal_code", "last_name"),
            block_on("email"),
        ],
    )
    with measured() as trained:
        linker = Linker(DuckDBAPI(con).register("people"), settings, log_level=None)
        certain = [block_on("first_name", "last_name", "birth_date"), block_on("email")]
        linker.training.estimate_probability_two_random_records_match(certain, recall=0.7)
        linker.training.estimate_u_using_random_sampling(max_pairs=1_000_001, seed=1)
        for rule in (block_on("first_name", "last_name"), block_on("birth_date", "postal_code")):
            linker.training.estimate_parameters_using_expectation_maximisation(
                rule, estimate_without_term_frequencies=True
            )
    with measured() as found:
        pairs = linker.inference.predict(threshold_match_probability=0.5)
        clusters = linker.clustering.cluster_pairwise_predictions_at_threshold(pairs, threshold_match_probability=0.95)
    con.execute(
        f"create table found as select record_id as record, hash(cluster_id) as cluster from {clusters.physical_name}"
    )
    peak = max(trained.peak_bytes, found.peak_bytes)
    yield {"path": "plain Splink", **_took(trained.cpu, found.cpu, peak), **_people_scores(con)}


def _took(train: float, match: float, peak: int) -> dict[str, float]:
    return {
        "train_cpu": round(train, 1),
        "match_cpu": round(match, 1),
        "cpu": round(train + match, 1),
        "peak_mb": round(peak / 1e6),
    }


def _people_scores(con: Connection) -> dict[str, float]:
    scored = score_clusters(
        con,
        "select p.record_id as record, f.cluster, p.person as truth from people as p join found as f "
        "on f.record = p.record_id",
        resamples=2,
    )
    values = {one.metric: one.value for one in scored}
    return {name: round(float(values[name] or 0), 4) for name in ("pairwise_f1", "b3_f1")}


def _print(result: dict[str, Any]) -> None:
    print(json.dumps(result), flush=True)


def main() -> None:
    """Measure what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", action="store_true")
    parser.add_argument("--file", type=Path)
    parser.add_argument("--truth", default="truth")
    parser.add_argument("--people", type=int)
    parser.add_argument("--path", choices=("ours", "splink"), default="ours")
    given = parser.parse_args()
    logging.getLogger("splink").setLevel(logging.ERROR)
    if given.labels:
        sets = {name: read_set(DATA / file, truth, held) for name, (file, truth, held) in SETS.items()}
        for result in (*score_held_out(sets), *score_halves(sets["historical_50k"])):
            _print(result)
    if given.file:
        one = read_set(given.file, given.truth, (given.truth,))
        _print({"set": one.name, "records": len(one.truth), **one.scores(Ladder())})
    if given.people:
        con = duckdb.connect()
        con.execute("set threads = 2")
        write_people(con, given.people, seed=7)
        for result in measure_ours(con) if given.path == "ours" else measure_splink(con):
            _print(result)


if __name__ == "__main__":
    main()
