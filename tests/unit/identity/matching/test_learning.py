"""Learning without labels, and matching by what was learned."""

import os
from pathlib import Path

import duckdb
import numpy as np
import pytest

from segmentation.errors import StrataError
from segmentation.identity.evaluation import score_clusters
from segmentation.identity.matching.clusters import Ladder
from segmentation.identity.matching.estimation import Patterns, estimate, first_guess
from segmentation.identity.matching.kinds import features_of
from segmentation.identity.matching.model import MatchingModel, model_of
from segmentation.identity.matching.prediction import cluster_records, match_records
from segmentation.identity.matching.profile import recognise
from segmentation.identity.matching.training import learn
from segmentation.warehouse import Connection

DATA = Path(os.environ.get("STRATA_TEST_DATA", Path(__file__).resolve().parents[5] / "shared" / "data"))


def matched(con: Connection, model: MatchingModel, **given: object) -> dict[tuple[int, int], float]:
    match_records(con, "records", model, "matches", least_weight=0.0, **given)
    rows = con.execute("select record_a, record_b, match_weight from matches").fetchall()
    return {(a, b): weight for a, b, weight in rows}


def f1(con: Connection, clusters: np.ndarray, truth: np.ndarray) -> float:
    con.register("found", {"record": np.arange(len(truth)), "cluster": clusters, "truth": truth})
    scores = {one.metric: one.value for one in score_clusters(con, "select * from found", resamples=2)}
    return float(scores["pairwise_f1"] or 0)


def test_people_with_errors_are_found_again(register, own) -> None:
    match_records(own, "records", register.model, "matches", least_weight=0.0)
    clusters = cluster_records(own, "matches", Ladder(), len(register.truth))
    assert f1(own, clusters, register.truth) > 0.97
    # The share of pairs that are matches was learned without being told.
    sizes = np.bincount(register.truth)
    true_share = (sizes * (sizes - 1) / 2).sum() / (len(register.truth) * (len(register.truth) - 1) / 2)
    assert register.model.parameters.prior == pytest.approx(true_share, rel=0.15)


def test_the_same_records_and_seed_give_the_same_model(register, own) -> None:
    again = model_of(learn(own, "records", register.model.kinds, seed=3), {})
    assert (again.keys, again.parameters) == (register.model.keys, register.model.parameters)
    assert again.frequencies == register.model.frequencies


def test_a_pair_scores_the_same_whatever_else_is_there(register, own) -> None:
    everything = matched(own, register.model)
    own.execute("create table newcomers as select record_id from records where record_id % 7 = 0")
    new = {row[0] for row in own.execute("select record_id from newcomers").fetchall()}
    increment = matched(own, register.model, new="newcomers")
    assert increment == pytest.approx({pair: w for pair, w in everything.items() if new & set(pair)})
    own.execute("delete from records where record_id in (select record_id from newcomers)")
    rest = matched(own, register.model)
    assert {**rest, **increment} == pytest.approx(everything)


def test_matching_leaves_nothing_behind(register, own) -> None:
    matched(own, register.model)
    tables = {row[0] for row in own.execute("select table_name from duckdb_tables()").fetchall()}
    assert tables == {"records", "matches"}


def test_too_few_records_are_refused(register, own) -> None:
    own.execute("create table few as from records limit 20")
    with pytest.raises(StrataError, match="there are 20 records"):
        learn(own, "few", register.model.kinds)
    own.execute("create table empty_ones as select record_id, null as name from records")
    with pytest.raises(StrataError, match="no attribute tells records apart"):
        learn(own, "empty_ones", {"name": "string"})


def test_the_estimate_recovers_a_mixture_it_was_drawn_from() -> None:
    kinds = {"family": "surname", "town": "city", "mail": "email"}
    features = features_of(kinds)
    rng = np.random.default_rng(5)
    pairs, share = 400_000, 0.02
    chance = {one.attribute: (*[0.001] * (len(one.levels) - 1), 1.001 - 0.001 * len(one.levels)) for one in features}
    is_match = rng.random(pairs) < share
    columns = []
    for one in features:
        others = rng.choice(len(one.levels), pairs, p=chance[one.attribute])
        agreeing = np.where(rng.random(pairs) < 0.7, 0, 1)
        columns.append(np.where(is_match, agreeing, others))
    levels, counts = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
    nothing = np.zeros(len(levels))
    patterns = Patterns(levels, nothing, nothing, counts.astype(float))
    # Chance is measured over all pairs, the matches among them.
    measured = {
        one.attribute: tuple(np.bincount(column, minlength=len(one.levels)) / pairs)
        for one, column in zip(features, columns, strict=True)
    }
    found = estimate(kinds, first_guess(features, measured, 1_000), patterns, pairs).parameters
    assert found.prior == pytest.approx(share, rel=0.02)
    for one in features:
        assert found.weights[one.attribute].matches[0] == pytest.approx(0.7, abs=0.02)
        assert found.weights[one.attribute].others[-1] == pytest.approx(chance[one.attribute][-1], abs=0.01)


def test_living_in_one_house_is_not_being_one_person() -> None:
    """More pairs share a home than a person: the estimate must not settle on the homes."""
    con = duckdb.connect()
    con.execute(
        "create table records as with people as (select i as person, i // 4 as home from range(1600) as t(i)) "
        "select row_number() over () - 1 as record_id, person, "
        "md5(person || 'g')[1:7] as given, md5(home || 'f')[1:7] as family, "
        "(date '1940-01-01' + (hash(person) % 22000)::integer)::varchar as birth, md5(home || 's')[1:9] as street, "
        "printf('%05d', hash(home) % 90000) as post, md5((hash(home) % 300) || 'c')[1:6] as city "
        "from people, range(2) as c(k) where k = 0 or person % 5 = 0"
    )
    kinds = {"given": "given_name", "family": "surname", "birth": "birth_date"}
    kinds |= {"street": "street", "post": "postcode", "city": "city"}
    model = model_of(learn(con, "records", kinds), {})
    match_records(con, "records", model, "matches", least_weight=0.0)
    truth = con.execute("select person from records order by record_id").fetchnumpy()["person"]
    clusters = cluster_records(con, "matches", Ladder(), len(truth))
    assert f1(con, clusters, np.asarray(truth)) > 0.98


@pytest.mark.real_data
def test_fake_1000_is_matched_at_the_natural_thresholds() -> None:
    file = DATA / "identity" / "fake_1000.csv"
    if not file.is_file():
        pytest.skip(f"{file} is absent: the setting STRATA_TEST_DATA names the folder of real data")
    con = duckdb.connect()
    con.execute(
        f"create table people as select row_number() over () - 1 as n, * from read_csv('{file}', all_varchar=true)"
    )
    profile = recognise(con, "people", leave_out=("n", "cluster"))
    assert profile.kinds == {
        "firstname": "given_name",
        "surname": "surname",
        "dob": "birth_date",
        "city": "city",
        "email": "email",
    }
    con.execute(f"create table records as {profile.select('people', 'n')}")
    match_records(con, "records", model_of(learn(con, "records", profile.kinds), {}), "matches", least_weight=0.0)
    truth = con.execute("select cluster::integer as t from people order by n").fetchnumpy()["t"]
    clusters = cluster_records(con, "matches", Ladder(), len(truth))
    assert f1(con, clusters, np.asarray(truth)) >= 0.928
