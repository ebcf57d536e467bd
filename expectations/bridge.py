"""Checks a suite with Great Expectations: the only module that imports it, and only when it checks.

Belongs here: turning truths into expectations and their results back. Does not belong here: what must be
true (`suites/`), or what follows from the result (`ledger.py`, `gates.py`). Everything stays in memory:
no project folder, no telemetry, and the warehouse is read through a connection the caller holds.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

from expectations.deferred import defer
from expectations.results import SuiteResult, TruthResult
from expectations.truths import Suite, Truth
from segmentation.errors import StrataError
from segmentation.warehouse import Connection, quote

SAMPLE_ROWS = 5

_MESSAGE_LENGTH = 300


class SuiteError(StrataError):
    """A suite says something that Great Expectations does not know."""


def validate(con: Connection, suite: Suite) -> SuiteResult:
    """Check every truth of a suite against the committed tables of ``con``.

    A truth that can't be checked (missing table, missing column, failing query) does not hold: the gate
    fails closed, with the reason in ``observed``. ``con`` must not be inside a transaction of its own.

    Raises:
        SuiteError: An expectation does not exist, or its arguments are wrong.
    """
    gx = _load()
    from expectations.duckdb_dialect import lend

    found: dict[str, TruthResult] = {}
    with lend(con, suite.stage) as url:
        context = _open_context(gx)
        for table in suite.tables:
            truths = suite.of(table)
            checked = _translate(gx, suite, table, truths)
            try:
                batch = _open_batch(context, url, suite.stage, table)
            except gx.datasource.fluent.interfaces.TestConnectionError as error:
                reason = _shorten(str(error.__cause__ or error))
                found |= {truth.name: _refuse(suite, truth, reason) for truth in truths}
                continue
            found |= _read(con, suite, truths, batch.validate(checked, result_format="BASIC").results)
    return SuiteResult(suite.stage, suite.name, tuple(found[truth.name] for truth in suite.truths))


def _load() -> Any:
    # Statistics and charts of expectations about distributions: a third of the import, and seldom used.
    defer("altair", "scipy.stats")
    import great_expectations as gx

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    return gx


def _open_context(gx: Any) -> Any:
    """Open a context that keeps everything in memory, sends nothing and draws no progress bars."""
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
    )

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        analytics_enabled=False,
        progress_bars={"globally": False},
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _open_batch(context: Any, url: str, stage: str, table: str) -> Any:
    """Open a table; the source is tested, and so made, with the first one."""
    sources = context.data_sources
    source = sources.all().get(stage) or sources.add_sql(stage, connection_string=url)
    asset = source.add_table_asset(table, table_name=table)
    # Of the whole table, without a definition of it, which the context would write down.
    return asset.get_batch(asset.build_batch_request())


def _translate(gx: Any, suite: Suite, table: str, truths: Iterable[Truth]) -> Any:
    """Build Great Expectations' suite.

    An expectation of an unknown type is left out by Great Expectations without an error, which would
    open the gate, so what it took is compared with what was declared.
    """
    declared: list[dict[str, Any]] = [
        {
            "type": truth.expectation,
            "kwargs": dict(truth.kwargs),
            "severity": truth.severity,
            "meta": {"truth": truth.name},
        }
        for truth in truths
    ]
    try:
        built = gx.ExpectationSuite(name=f"{suite.stage}.{table}", expectations=declared)
    except Exception as error:
        raise SuiteError(
            f"a truth about {suite.stage}.{table} can't be read: {_shorten(str(error))}",
            where=f"expectations/suites/{suite.stage}.py",
            expected="arguments that the expectation takes",
            repair="correct the truth's arguments",
        ) from error
    taken = [expectation.meta["truth"] for expectation in built.expectations]
    lost = [item["meta"]["truth"] for item in declared if item["meta"]["truth"] not in taken]
    if lost or len(taken) != len(declared):
        raise SuiteError(
            f"Great Expectations does not know the expectation of {', '.join(lost) or 'some truths'}",
            where=f"expectations/suites/{suite.stage}.py",
            expected="one of its expectation types, in snake case",
            repair="correct the truth's expectation type",
        )
    return built


def _read(con: Connection, suite: Suite, truths: Iterable[Truth], results: Iterable[Any]) -> dict[str, TruthResult]:
    by_name = {result.expectation_config.meta["truth"]: result for result in results}
    return {
        truth.name: _read_truth(con, suite, truth, by_name[truth.name])
        if truth.name in by_name
        else _refuse(suite, truth, "no result")
        for truth in truths
    }


def _read_truth(con: Connection, suite: Suite, truth: Truth, result: Any) -> TruthResult:
    if error := _exception_of(result.exception_info):
        return _refuse(suite, truth, error)
    facts: Mapping[str, Any] = result.result
    passed = bool(result.success)
    unexpected = facts.get("unexpected_count")
    if truth.query:
        unexpected = facts["observed_value"]
    return TruthResult(
        name=truth.name,
        table=f"{suite.stage}.{truth.table}",
        severity=truth.severity,
        passed=passed,
        observed=_describe(facts, unexpected),
        expected=truth.expected,
        unexpected_count=None if unexpected is None else int(unexpected),
        sample=() if passed else _sample(con, suite, truth),
        repair=truth.repair,
        may_be_accepted=truth.may_be_accepted,
    )


def _describe(facts: Mapping[str, Any], unexpected: int | None) -> str:
    """Say what was found, in counts only: values could be personal data."""
    if unexpected is None:
        value = facts.get("observed_value")
        return str(value) if isinstance(value, int | float) else _shorten(json.dumps(value, default=str))
    if not unexpected:
        return "none against it"
    rows = f"{unexpected} row{'s' if unexpected != 1 else ''}"
    return f"{rows} of {facts['element_count']}" if "element_count" in facts else f"{rows} against it"


def _sample(con: Connection, suite: Suite, truth: Truth) -> tuple[dict[str, str], ...]:
    """Show some rows of an SQL truth, whose query selects no personal data; of other truths none."""
    if not truth.query:
        return ()
    rows = truth.query.format(batch=f"{quote(suite.stage)}.{quote(truth.table)}")
    with con.cursor() as cursor:
        cursor.execute(f"set schema = '{suite.stage}'")
        result = cursor.execute(f"select * from ({rows}) order by all limit {SAMPLE_ROWS}")
        names = [column[0] for column in result.description]
        return tuple({name: str(value) for name, value in zip(names, row, strict=True)} for row in result.fetchall())


def _exception_of(info: Mapping[str, Any]) -> str:
    """Return the first error behind a result, empty where there is none.

    Great Expectations gives one error, or one per metric under the metric's name.
    """
    for error in (info, *info.values()):
        if isinstance(error, Mapping) and error.get("raised_exception"):
            return _shorten(str(error.get("exception_message") or "an error without a message"))
    return ""


def _refuse(suite: Suite, truth: Truth, reason: str) -> TruthResult:
    return TruthResult(
        name=truth.name,
        table=f"{suite.stage}.{truth.table}",
        severity=truth.severity,
        passed=False,
        observed=f"it could not be checked: {reason}",
        expected=truth.expected,
        unexpected_count=None,
        sample=(),
        repair=truth.repair,
        may_be_accepted=truth.may_be_accepted,
    )


def _shorten(text: str) -> str:
    """Keep an error's first words, without the statement, and without quoted values: they could be personal."""
    line = " ".join(re.sub(r"'[^']*'", "'…'", text.split("[SQL:", maxsplit=1)[0]).split())
    return line if len(line) <= _MESSAGE_LENGTH else line[: _MESSAGE_LENGTH - 1] + "…"
