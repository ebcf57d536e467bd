"""Labels in the forms people have them, and what a published map scores against them."""

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from segmentation.errors import CandidateError, NotFoundError, SourceError
from segmentation.identity.scorecard import evaluate, keep_run_figures, read_trend
from segmentation.identity.truth import read_truth


@pytest.fixture
def town(begin, run):
    """Ann with two addresses, Bob who borrowed her phone number, a kiosk, and somebody with a cookie alone."""

    def fill(world):
        world.add("customer_records", source_customer_id="7", email="Ann@Shop.com", phone="+447700900123")
        world.add("events", event_type="login", user_id="ann", anonymous_id="c1")
        world.add("form_submissions", email="ann@shop.com", anonymous_id="c1")
        world.add("form_submissions", email="ann@home.com", anonymous_id="c9")
        world.add("orders", source_customer_id="8", email="bob@shop.com", phone="+44 7700 900123")
        world.add("orders", source="till", source_customer_id="7", email="eve@shop.com")
        world.add("events", anonymous_id="c5")
        world.resolve(run)

    return begin(fill)


ANN = {("user_id", "ann"), ("email", "ANN@shop.com"), ("email", "ann@home.com"), ("phone", "07700 900123")}
BOB = {("email", "bob@shop.com")}


def _write(tmp_path, name, columns):
    path = tmp_path / name
    table = pa.table({column: pa.array(values, pa.string()) for column, values in columns.items()})
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        pyarrow.csv.write_csv(table, path)
    return path


def _long(tmp_path, name="labels.csv", *, people=(("ann", ANN), ("bob", BOB)), **more):
    rows = [(id_type, value, person) for person, identifiers in people for id_type, value in sorted(identifiers)]
    types, values, entities = zip(*rows, strict=True)
    return _write(tmp_path, name, {"id_type": types, "id_value": values, "entity_id": entities, **more})


def _labels(world):
    return dict(
        world.rows(
            "select i.id_type || ' ' || i.id_namespace || ' ' || i.id_value, l.truth from labels as l "
            "join identity.identifiers as i on i.node_id = l.record"
        )
    )


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_identifiers_are_found_however_they_are_written(town, catalog, tmp_path, name):
    truth = read_truth(town.con, _long(tmp_path, name), catalog.rules)
    assert (truth.name, truth.rows, truth.labelled, truth.shared, truth.unknown) == (name, 5, 5, 0, 0)
    assert _labels(town) == {
        "user_id  ann": "ann",
        "email  ann@shop.com": "ann",
        "email  ann@home.com": "ann",
        "phone  +447700900123": "ann",
        "email  bob@shop.com": "bob",
    }


def test_a_row_may_name_several_identifiers(town, catalog, tmp_path):
    columns = {"Person_ID": ["ann", "bob"], "email": ["ann@shop.com", "bob@shop.com"], "user_id": ["ann", None]}
    truth = read_truth(town.con, _write(tmp_path, "wide.csv", columns), catalog.rules)
    assert truth.labelled == 3
    assert _labels(town) == {"email  ann@shop.com": "ann", "user_id  ann": "ann", "email  bob@shop.com": "bob"}


def test_nodes_may_be_named_by_number(town, catalog, tmp_path):
    [(node,)] = town.rows("select node_id from identity.identifiers where id_value = 'bob@shop.com'")
    path = _write(tmp_path, "nodes.csv", {"node_id": [str(node), "99999", "x"], "entity_id": ["bob", "ann", "ann"]})
    truth = read_truth(town.con, path, catalog.rules)
    assert (truth.labelled, truth.unknown) == (1, 2)
    assert _labels(town) == {"email  bob@shop.com": "bob"}


def test_an_id_of_several_sources_needs_its_source(town, catalog, tmp_path):
    ids = {"source_customer_id": ["7", "8"], "entity_id": ["ann", "bob"]}
    truth = read_truth(town.con, _write(tmp_path, "ids.csv", ids), catalog.rules)
    assert (truth.labelled, truth.unknown) == (1, 1)
    assert _labels(town) == {"source_customer_id shop 8": "bob"}
    truth = read_truth(town.con, _write(tmp_path, "ids.csv", {**ids, "source": ["till", "shop"]}), catalog.rules)
    assert truth.labelled == 2
    assert _labels(town) == {"source_customer_id till 7": "ann", "source_customer_id shop 8": "bob"}


def test_what_belongs_to_several_people_is_nobodys(town, catalog, tmp_path):
    people = (("ann", ANN), ("bob", BOB | {("phone", "+447700900123")}))
    truth = read_truth(town.con, _long(tmp_path, people=people), catalog.rules)
    assert (truth.rows, truth.labelled, truth.shared, truth.unknown) == (6, 4, 1, 0)
    assert "phone  +447700900123" not in _labels(town)


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"id_type": ["email"], "id_value": ["a@b.co"]}, "no column says which entity a row is about"),
        ({"entity_id": ["ann"], "emial": ["a@b.co"]}, "no column names identifiers.*did you mean email"),
        ({"id_type": ["email"], "id_value": ["a@b.co"], "entity_id": ["1"]}, "none of the 1 labels is about"),
        ({"email": ["bob@shop.com"] * 2, "entity_id": ["1", "2"]}, "all 1 identifiers have several entities"),
        ({"email": [], "entity_id": []}, "none of the 0 labels"),
    ],
)
def test_labels_that_say_nothing_are_refused(town, catalog, tmp_path, columns, what):
    with pytest.raises(SourceError, match=what) as refused:
        read_truth(town.con, _write(tmp_path, "labels.csv", columns), catalog.rules)
    assert str(tmp_path) in refused.value.where
    assert refused.value.repair


def test_files_that_are_none_are_refused(town, catalog, tmp_path):
    with pytest.raises(NotFoundError, match="no such file of labels"):
        read_truth(town.con, tmp_path / "absent.csv", catalog.rules)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 but not really")
    with pytest.raises(SourceError, match="can't be read"):
        read_truth(town.con, broken, catalog.rules)
    uneven = tmp_path / "uneven.csv"
    uneven.write_bytes(b"entity_id,email\n" + b"ann,a@b.co\n" * 3000 + b"\xff\xfe,\x00,,,\n")
    with pytest.raises(SourceError, match="can't be read"):
        read_truth(town.con, uneven, catalog.rules)


def _card(world, catalog, run, path):
    card = evaluate(world.con, path, catalog.rules, recorded_at=run.recorded_at)
    return card, {metric.metric: metric for metric in card.metrics}


def test_the_published_map_is_scored(town, catalog, run, tmp_path):
    columns = {
        "source": ["shop"] * 6,
        "source_customer_id": ["7", "8", None, None, None, None],
        "email": [None, "bob@shop.com", "ann@shop.com", "ann@home.com", None, None],
        "user_id": [None, None, None, None, "ann", None],
        "phone": [None, None, None, None, None, "+447700900123"],
        "entity_id": ["ann", "bob", "ann", "ann", "ann", "ann"],
    }
    card, found = _card(town, catalog, run, _write(tmp_path, "labels.csv", columns))
    assert (card.run_id, card.as_of, card.truth.labelled) == (run.run_id, run.as_of, 7)
    # Ann's second address is a customer of its own; 11 pairs are one person's.
    assert found["pairwise_precision"].value == 1
    assert found["pairwise_recall"].value == pytest.approx(7 / 11)
    assert (found["over_merged_customers"].value, found["split_persons"].value) == (0, 1)
    assert (found["known_profiles_mixing_people"].value, found["known_profiles_mixing_people"].n) == (0, 2)
    # Bob's order carried Ann's number: that edge was refused.
    assert (found["edge_precision"].value, found["edge_precision"].n) == (1, 3)
    assert found["blocking_recall"].value == found["edge_recall"].value == pytest.approx(3 / 11)
    # An unlabelled cookie may connect; a refused edge between two people may not.
    assert found["recall_ceiling"].value == pytest.approx(7 / 11)


def test_harm_is_counted(town, catalog, run, tmp_path):
    strangers = (("ann", {("user_id", "ann")}), ("eve", {("email", "ann@shop.com")}))
    found = _card(town, catalog, run, _long(tmp_path, people=strangers))[1]
    assert (found["known_profiles_mixing_people"].value, found["known_profiles_with_strangers"].value) == (0, 1)
    two = {"source": ["shop", ""], "source_customer_id": ["7", None], "user_id": [None, "ann"], "entity_id": ["1", "2"]}
    found = _card(town, catalog, run, _write(tmp_path, "two.csv", two))[1]
    assert found["known_profiles_mixing_people"].value == 1
    assert found["over_merged_customers"].value == 1


def test_scores_are_kept_once_per_run_and_file(town, catalog, run, tmp_path):
    path = _long(tmp_path)
    card = _card(town, catalog, run, path)[0]
    _card(town, catalog, run, path)
    rows = town.rows("select metric, value, ci_low, truth, run_id, as_of from identity.metrics order by metric")
    assert len(rows) == len(card.metrics) == len({row[0] for row in rows})
    assert {row[3:] for row in rows} == {("labels.csv", run.run_id, run.as_of)}
    assert {row[0]: row[1:3] for row in rows} == {one.metric: (one.value, one.ci_low) for one in card.metrics}
    assert read_trend(town.con, "pairwise_recall") == {run.as_of: 0.5}


def test_nothing_published_can_be_scored_by_nobody(world, catalog, run, tmp_path):
    with pytest.raises(NotFoundError, match="not been published"):
        evaluate(world.con, _long(tmp_path), catalog.rules, recorded_at=run.recorded_at)
    with pytest.raises(NotFoundError, match="not been published"):
        keep_run_figures(world.con, recorded_at=run.recorded_at)


def test_every_run_keeps_how_it_went(town, catalog, run, later):
    keep_run_figures(town.con, recorded_at=run.recorded_at)
    # Ann's two addresses turn out to be one person's; the kiosk makes noise.
    town.add("customer_records", source_customer_id="7", email="ann@home.com")
    for user in range(6):
        town.add("events", user_id=f"u{user}", device_id="kiosk")
    second = later(1)
    town.resolve(second)
    found = {one.metric: one for one in keep_run_figures(town.con, recorded_at=second.recorded_at)}
    keep_run_figures(town.con, recorded_at=second.recorded_at)
    # The address and its cookie moved, of 12 identifiers that had a customer; no account did.
    [(before,)] = town.rows(f"select count(*) from identity.identifier_map_history where valid_from < '{second.as_of}'")
    assert found["id_churn_pct"].value == pytest.approx(100 * 2 / before)
    assert (found["known_id_churn_pct"].value, found["merges"].value) == (0, 1)
    assert found["edges_rejected"].n == 7
    stored = town.rows(f"select metric, slice, value from identity.metrics where run_id = '{second.run_id}'")
    assert ("edges_rejected", "R3 device_id with more than 3 user_id", 6.0) in stored
    assert (
        len(stored)
        == len(set(stored))
        == len(
            town.rows(f"select distinct run_id, metric, slice from identity.metrics where run_id = '{second.run_id}'")
        )
    )
    assert list(read_trend(town.con, "n_customers")) == [run.as_of, second.as_of]
    assert list(read_trend(town.con, "n_customers", last=1)) == [second.as_of]


def test_figures_of_a_held_candidate_are_not_kept(town, catalog, later):
    town.build(later(1))
    with pytest.raises(CandidateError, match="not published"):
        keep_run_figures(town.con, recorded_at=later(1).recorded_at)
