"""The audit log: whoever changes it is found out."""

import json
from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation import audit
from segmentation.contracts import ensure_schema

NOON = datetime(2026, 11, 19, 12)


@pytest.fixture
def log(con):
    ensure_schema(con, "identity")
    return con


def _fill(con, rows=6):
    return [
        audit.append(
            con, at=NOON + timedelta(seconds=n), actor="jo", action="link", subject=f"r{n}", detail={"nodes": [n, 9]}
        )
        for n in range(rows)
    ]


def test_the_chain_is_the_documented_one(log):
    first = audit.append(log, at=NOON, actor="svc:sync", action="read", subject="p_1")
    second = audit.append(log, at=NOON + timedelta(seconds=1), actor="svc:sync", action="erase", subject="p_1")
    assert (
        first.canonical() == '{"action":"read","actor":"svc:sync","at":"2026-11-19T12:00:00Z","seq":1,"subject":"p_1"}'
    )
    assert first.hash == "224881c18dadf929789f0a515056e1c55ef096a8e121a7e47c931f38ca3dca98"
    assert second.hash == "bf35dc0acca70f5e35a9b310a47d4101ccd7794aa60cbc291915ce257cd93ff0"
    assert audit.verify(log) == audit.AuditReport(2, second.hash, None)


def test_an_empty_log_is_whole(log, tmp_path):
    assert audit.verify(log, tmp_path) == audit.AuditReport(0, "0" * 64, None)
    assert audit.keep_copy(log, tmp_path) == 0


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("update ops.audit_log set actor = 'nobody' where seq = 3", "row 3 is not what was written"),
        (
            "update ops.audit_log set acted_at = acted_at + interval 1 microsecond where seq = 2",
            "row 2 is not what was written",
        ),
        ("update ops.audit_log set detail = '{\"nodes\":[2,8]}' where seq = 3", "row 3 is not what was written"),
        ("update ops.audit_log set detail = 'no json' where seq = 4", "row 4 is not what was written"),
        ("update ops.audit_log set hash = repeat('0', 64) where seq = 1", "row 1 is not what was written"),
        ("delete from ops.audit_log where seq = 3", "row 3 is missing: after row 2 comes row 4"),
        ("delete from ops.audit_log where seq = 1", "row 1 is missing: after row 0 comes row 2"),
        ("insert into ops.audit_log select * from ops.audit_log where seq = 4", "row 4 is there twice"),
        (
            "delete from ops.audit_log where seq = 3; update ops.audit_log set seq = seq - 1 where seq > 3",
            "row 3 is not what was written",
        ),
    ],
)
def test_changed_and_deleted_rows_are_found(log, damage, found):
    _fill(log)
    log.execute(damage)
    assert found in audit.verify(log).problem


def test_rows_cut_off_at_the_end_are_found_by_the_copy(log, tmp_path):
    _fill(log)
    assert audit.keep_copy(log, tmp_path) == 6
    log.execute("delete from ops.audit_log where seq > 4")
    assert audit.verify(log).problem is None
    assert audit.verify(log, tmp_path).problem == ("row 5 is missing: the log ends with row 4, its copy with row 6")
    with pytest.raises(audit.AuditError, match="strata restore audit"):
        audit.require_whole(log, tmp_path)


def test_a_log_written_anew_is_found_by_the_copy(log, tmp_path):
    _fill(log)
    audit.keep_copy(log, tmp_path)
    log.execute("delete from ops.audit_log")
    _fill(log, 2)
    audit.append(log, at=NOON, actor="jo", action="link", subject="other")
    assert audit.verify(log).problem is None
    assert "row 3 is not the row that its copy has" in audit.verify(log, tmp_path).problem
    with pytest.raises(audit.AuditError):
        audit.keep_copy(log, tmp_path)


def test_the_copy_brings_a_lost_log_back(log, tmp_path):
    _fill(log)
    audit.keep_copy(log, tmp_path)
    before = log.execute("select * from ops.audit_log order by seq").fetchall()
    log.execute("delete from ops.audit_log where seq > 2")
    assert audit.restore_log(log, tmp_path) == 4
    assert log.execute("select * from ops.audit_log order by seq").fetchall() == before
    assert audit.restore_log(log, tmp_path) == 0


def test_a_changed_copy_is_not_restored(log, tmp_path):
    _fill(log)
    audit.keep_copy(log, tmp_path)
    log.execute("delete from ops.audit_log where seq > 2")
    path = tmp_path / audit.COPY
    path.write_text(path.read_text().replace('"r4"', '"r5"', 1))
    with pytest.raises(audit.AuditError, match="the copy's row 5"):
        audit.restore_log(log, tmp_path)
    assert log.execute("select count(*) from ops.audit_log").fetchall() == [(2,)]
    path.write_text("{}\n")
    with pytest.raises(audit.AuditError, match="can't be read"):
        audit.verify(log, tmp_path)


def test_a_line_cut_off_while_it_was_written_is_written_again(log, tmp_path):
    _fill(log, 2)
    audit.keep_copy(log, tmp_path)
    path = tmp_path / audit.COPY
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert audit.keep_copy(log, tmp_path) == 1
    assert path.read_bytes() == whole
    assert [json.loads(line)["row"]["seq"] for line in whole.splitlines()] == [1, 2]


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)


@given(
    st.lists(
        st.tuples(_TEXT, _TEXT, st.dictionaries(_TEXT, st.integers() | _TEXT, max_size=2)), min_size=2, max_size=5
    ),
    st.data(),
)
@settings(max_examples=15, deadline=None)
def test_any_log_verifies_and_no_row_can_go(rows, data):
    with duckdb.connect() as con:
        ensure_schema(con, "identity")
        for actor, subject, detail in rows:
            audit.append(
                con, at=datetime.now(UTC).replace(tzinfo=None), actor=actor, action="a", subject=subject, detail=detail
            )
        assert audit.verify(con).problem is None
        victim = data.draw(st.integers(1, len(rows) - 1))
        con.execute("delete from ops.audit_log where seq = ?", [victim])
        assert audit.verify(con).problem is not None
