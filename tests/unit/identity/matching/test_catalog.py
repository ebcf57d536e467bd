"""What `catalog/matching.yml` may say, and errors that name the line."""

from pathlib import Path

import pytest

from segmentation.errors import CatalogProblems
from segmentation.identity.matching.catalog import load_matching
from segmentation.identity.matching.scoring import weight_of

SHIPPED = (Path(__file__).resolve().parents[4] / "catalog" / "matching.yml").read_text(encoding="utf-8")


def _load(folder: Path, text: str, models: Path | None = None):
    (folder / "matching.yml").write_text(text, encoding="utf-8")
    return load_matching(folder, models=models)


def test_the_shipped_catalog_is_off(tmp_path):
    definition = _load(tmp_path, SHIPPED, tmp_path)
    assert not definition.enabled
    assert definition.model is None
    assert definition.ladder.start == definition.least_weight == weight_of(0.9)


def test_without_a_file_there_is_no_matching(tmp_path):
    assert load_matching(tmp_path) is None


@pytest.mark.parametrize(
    ("old", "new", "message", "part"),
    [
        ("given: given_name", "given: given_nam", "given_nam is not a kind of attribute", "given: given_nam"),
        ("  town: city\n  firm", "  group: city\n  firm", "group is a word of SQL", "group: city"),
        ("  customer_records:", "  customer_record:", "customer_record has no records", "customer_record:"),
        ("postcode: postal_code", "postcode: postal_cod", "no column postal_cod", "postal_cod"),
        ("    town: city", "    village: city", "village is no attribute", "village"),
        ("review_from: 0.9", "review_from: 0.3", "review_from", "review_from"),
        ("  from: 0.999", "  from: 0.8", "must not be below review_from", None),
        ("least_precision: 0.99", "least_precision: 0.5", "least_precision", "least_precision"),
        ("enabled: false", "enabled: true", "enabled without a model", None),
        ("# model: 1", "model: 3", "there is no matching model 3", "model: 3"),
        ("enabled: false", "enabled: perhaps", "enabled", "enabled"),
        ("seed: 1", "sead: 1", "sead", "sead"),
    ],
)
def test_mistakes_name_their_line(tmp_path, old, new, message, part):
    assert SHIPPED.count(old) >= 1
    text = SHIPPED.replace(old, new, 1)
    with pytest.raises(CatalogProblems) as caught:
        _load(tmp_path, text, tmp_path)
    found = [problem for problem in caught.value.problems if message in problem.what or message in str(problem)]
    assert found, caught.value.problems
    if part:
        line = next(number for number, line in enumerate(text.splitlines(), 1) if part in line and line[0] != "#")
        assert line in {problem.line for problem in found}
