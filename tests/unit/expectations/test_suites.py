"""What holds for the suites as a whole: names, advice, tables, and that nothing personal is ever shown."""

import re
from collections.abc import Callable

import pytest
import sqlglot

from expectations.gates import GATES, read_accepted
from expectations.results import SuiteResult
from expectations.truths import Truth
from segmentation.errors import StrataError

TRUTHS = [pytest.param(truth, id=f"{gate.stage.name}-{truth.name}") for gate in GATES for truth in gate.suite.truths]

PERSONAL = {
    "anonymous_id", "birth_date", "city", "device_id", "email", "first_name", "id_value", "last_name", "message",
    "phone", "postal_code", "raw", "raw_value", "reason", "source_customer_id", "user_id", "value", "value_hmac",
}  # fmt: skip


@pytest.mark.parametrize("truth", TRUTHS)
def test_what_a_failed_truth_shows_is_not_personal(truth: Truth) -> None:
    if truth.query is None:
        return
    shown = sqlglot.parse_one(truth.query.format(batch="candidate"), dialect="duckdb").named_selects
    assert shown
    assert "*" not in shown
    assert not PERSONAL & set(shown)


@pytest.mark.parametrize("truth", TRUTHS)
def test_a_truth_says_what_is_right_and_what_to_do(truth: Truth) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", truth.name)
    assert truth.expected
    assert truth.repair
    assert truth.table == "candidate" or truth.table.startswith("candidate_")
    assert truth.severity == "critical" or not truth.may_be_accepted


def test_names_are_unique_over_all_stages_that_a_person_may_accept() -> None:
    names = [truth.name for gate in GATES for truth in gate.suite.truths if truth.may_be_accepted]
    assert len(names) == len(set(names))


def test_every_gate_has_truths_that_close_it() -> None:
    for gate in GATES:
        assert any(truth.severity == "critical" for truth in gate.suite.truths)


def test_accepted_names_are_read() -> None:
    assert read_accepted("") == frozenset()
    assert read_accepted(" guards_are_kept, every_file_is_readable ,") == {"guards_are_kept", "every_file_is_readable"}


@pytest.mark.parametrize("name", ["members_have_consented", "no_such_truth"])
def test_what_is_right_can_not_be_accepted_away(name: str) -> None:
    with pytest.raises(StrataError, match=f"nobody can accept {name}") as raised:
        read_accepted(f"guards_are_kept,{name}")
    assert "guards_are_kept" in raised.value.expected


def test_accepting_changes_only_failures_that_may_be_accepted(result: Callable[..., SuiteResult]) -> None:
    found = result("sources", failing=("a_limit_is_kept", "b_is_right"), may_be_accepted=("a_limit_is_kept",))
    accepted = found.accept({"a_limit_is_kept", "b_is_right", "rows_exist"})
    assert [truth.name for truth in accepted.failures] == ["b_is_right"]
    assert [truth.name for truth in accepted.warnings] == ["a_limit_is_kept"]
    assert accepted.warnings[0].observed.endswith("(accepted for this run)")
    assert found.accept(set()) == found
