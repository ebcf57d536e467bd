"""What a cost pool file may say, and how an error points at the line."""

from pathlib import Path

import pytest

from segmentation.costs.pools import check_segments, load_pools
from segmentation.errors import CatalogError, CatalogProblems

ROOT = Path(__file__).resolve().parents[3]

HEAD = """\
rule_version: v1
reporting_currency: USD
default_pool: {pool: rest, description: the rest, owner: team:x}
pools:
  - pool: edge
    description: gateways
    owner: team:x
    match: {service_name: gateway}
"""


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "cost_pools.yml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_shipped_file_is_valid() -> None:
    pools = load_pools(ROOT / "catalog" / "cost_pools.yml")
    assert pools.views == ("exclusive", "full")
    assert {"requests", "compute_ms", "members"} <= set(pools.drivers)


@pytest.mark.parametrize(
    ("rule", "line", "what"),
    [
        ("method: direct", 5, "needs either segment or tag_key"),
        ("method: direct\n    segment: vip\n    tag_key: segment", 5, "needs either segment or tag_key"),
        ("method: direct\n    segment: vip\n    tag_values: {a: b}", 5, "tag_values needs a tag_key"),
        ("method: proportional", 5, "needs a driver"),
        ("method: even\n    driver: requests", 5, "method even takes no driver"),
        ("method: fixed\n    weights: {a: 0.5, b: 0.4}", 5, "sum to 0.9, not to exactly 1"),
        ("method: fixed\n    weights: {a: 1.5, b: -0.5}", 10, "weights.a"),
        ("method: fixed", 5, "sum to 0, not to exactly 1"),
        ("method: direct\n    segment: __elsewhere__", 10, "segment"),
        ("method: proportional\n    driver: clicks", 10, "driver"),
        ("method: proportional\n    driver: requests\n    idle: {}", 11, "either ratio or capacity"),
        ("method: proportional\n    driver: requests\n    idle: {ratio: 0.1, capacity: 5}", 11, "either ratio or"),
        ("method: even\n    valid_from: 2026-02-01\n    valid_to: 2026-02-01", 5, "valid_from must be before"),
        ("method: even\n    metod: x", 10, "metod"),
        ("method: even\n  - {pool: b, description: d, owner: o, match: {}, method: even}", 10, "match without"),
        ("method: even\n  - {pool: edge, description: d, owner: o, match: {source: s}, method: even}", 10, "twice"),
        ("method: even\n  - {pool: rest, description: d, owner: o, match: {source: s}, method: even}", 10, "twice"),
        ("method: even\nviews: [full]", 10, "must hold exclusive"),
        ("method: even\nviews: [exclusive, exclusive]", 10, "each view once"),
        ("method: even\nviews: [exclusive, half]", 10, "views[1]"),
    ],
)  # fmt: skip
def test_an_error_names_file_line_and_repair(tmp_path: Path, rule: str, line: int, what: str) -> None:
    file = write(tmp_path, f"{HEAD}    {rule}\n")
    with pytest.raises(CatalogProblems) as caught:
        load_pools(file)
    problem = caught.value.problems[0]
    assert what in problem.what
    assert (problem.file, problem.line) == (str(file), line)
    assert problem.repair


@pytest.mark.parametrize("text", ["", "[]", "pools: [", "rule_version: a\nrule_version: b\n"])
def test_a_file_of_another_shape_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(CatalogError):
        load_pools(write(tmp_path, text))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="can't be read"):
        load_pools(tmp_path / "nothing.yml")


def test_weights_count_as_they_are_written(tmp_path: Path) -> None:
    """0.1 + 0.2 + 0.7 is not 1 in binary fractions."""
    pools = load_pools(write(tmp_path, f"{HEAD}    method: fixed\n    weights: {{a: 0.1, b: 0.2, c: 0.7}}\n"))
    assert sum(pools.pools[0].weights.values()) == 1


def test_a_pool_may_return_with_other_days(tmp_path: Path) -> None:
    again = "{pool: edge, description: d, owner: o, match: {source: s}, method: even, valid_from: 2026-02-01}"
    pools = load_pools(write(tmp_path, f"{HEAD}    method: even\n    valid_to: 2026-02-01\n  - {again}\n"))
    assert [pool.pool for pool in pools.pools] == ["edge", "edge"]


def test_a_named_segment_must_exist(tmp_path: Path) -> None:
    file = write(tmp_path, f"{HEAD}    method: fixed\n    weights:\n      __overhead__: 0.5\n      vip: 0.5\n")
    pools = load_pools(file)
    check_segments(pools, {"vip"})
    with pytest.raises(CatalogError, match="no segment is called 'vip'") as caught:
        check_segments(pools, {"core"})
    assert caught.value.where == f"{file}:12"


def test_every_unknown_segment_is_told(tmp_path: Path) -> None:
    file = write(tmp_path, f"{HEAD}    method: fixed\n    weights:\n      core: 0.5\n      vip: 0.5\n")
    with pytest.raises(CatalogProblems) as caught:
        check_segments(load_pools(file), {"other"})
    assert [problem.where for problem in caught.value.problems] == [f"{file}:11", f"{file}:12"]
