"""Scores of the published map, asked for by hand and kept by every run."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(900)

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def labels(company: Path) -> Path:
    """Who is who in the sample company."""
    return company / "truth" / "persons.parquet"


@pytest.fixture
def own(data: Path, installation: Any, tmp_path: Path) -> Any:
    """An installation to score: scores are written."""
    return installation(Path(shutil.copytree(data, tmp_path / "own")))


def test_the_sample_company_scores_as_its_truth_says(ask: Ask, own: Any, labels: Path) -> None:
    told = ask(own.settings.data, "identity", "evaluate", "--truth", str(labels), "--json")
    assert told.code == 0
    assert told.err == ""
    scores = {one["metric"]: one for one in told.json["metrics"]}
    assert told.json["truth"]["labelled"] > 1000
    assert scores["known_profiles_mixing_people"]["value"] == 0
    assert scores["pairwise_precision"]["value"] > 0.99
    assert scores["recall_ceiling"]["value"] - 0.02 < scores["pairwise_recall"]["value"]
    kept = dict(own.sql("select metric, value from identity.metrics where truth = 'persons.parquet'"))
    assert kept == {name: one["value"] for name, one in scores.items()}
    shown = ask(own.settings.data, "identity", "evaluate", "--truth", str(labels), COLUMNS="160")
    assert shown.code == 0
    assert "known_profiles_mixing_people" in shown.out


def test_every_run_keeps_its_figures(house: Any) -> None:
    runs = house.sql("select as_of, count(*) from identity.metrics where metric = 'n_customers' group by 1 order by 1")
    assert [n for _, n in runs] == [1] * len(runs)
    assert len(runs) == 2
    [(customers,)] = house.sql("select count(*) from identity.customers where status = 'active'")
    assert house.sql("select value from identity.metrics where metric = 'n_customers' order by as_of desc limit 1") == [
        (customers,)
    ]


def test_labels_that_are_not_there_are_not_known(ask: Ask, data: Path, tmp_path: Path) -> None:
    absent = ask(data, "identity", "evaluate", "--truth", str(tmp_path / "absent.csv"), "--json")
    assert absent.code == 5
    assert absent.json["error"] == "NotFoundError"
    assert "absent.csv" in absent.json["where"]
    table = tmp_path / "wrong.csv"
    table.write_text("colour,size\nred,4\n", encoding="utf-8")
    wrong = ask(data, "identity", "evaluate", "--truth", str(table))
    assert wrong.code == 1
    assert "which entity a row is about" in wrong.err
