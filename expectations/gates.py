"""The registry of gates, one per stage, and the Dagster checks made of it.

Belongs here: which suite guards which asset, and how a judgement looks in Dagster. Does not belong here:
what must be true (`suites/`), how it is checked (`bridge.py`), or what keeps a gate shut in later runs
(`ledger.py`). Each gate is two checks of one pass: ``<stage>_gate`` blocks, ``<stage>_warnings`` does not,
so a warning is seen and holds nothing back.
"""

import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import dagster as dg

from expectations import ledger
from expectations.results import SuiteResult, TruthResult
from expectations.truths import Suite
from orchestration.resources import WAREHOUSE_OP_TAGS, WAREHOUSE_POOL, StrataResource, run_from_context
from orchestration.stages import STAGES, Stage
from segmentation.errors import StrataError

#: Run tag that names truths which a person lets this run fail.
ACCEPT_TAG = "strata/accept"


@dataclass(frozen=True, slots=True)
class Gate:
    """What stands between a stage's candidate and everybody else.

    Attributes:
        stage: The stage it ends.
        asset: Key of the asset it sits on.
        suite: What must be true.
        severity: What a failed critical truth is in Dagster.
    """

    stage: Stage
    asset: dg.AssetKey
    suite: Suite
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR

    @property
    def check(self) -> dg.AssetCheckKey:
        """Key of the check that blocks."""
        return dg.AssetCheckKey(self.asset, f"{self.stage.name}_gate")

    @property
    def warnings_check(self) -> dg.AssetCheckKey:
        """Key of the check that only warns."""
        return dg.AssetCheckKey(self.asset, f"{self.stage.name}_warnings")


def _gate_of(stage: Stage) -> Gate:
    suite = importlib.import_module(stage.suite_module).SUITE
    return Gate(stage=stage, asset=dg.AssetKey(list(stage.candidate_key)), suite=suite)


#: Every gate, in the order of the stages.
GATES: tuple[Gate, ...] = tuple(_gate_of(stage) for stage in STAGES)


def judge(strata: StrataResource, gate: Gate, context: dg.AssetCheckExecutionContext) -> SuiteResult:
    """Check a gate's suite on the stage's newest candidate and record the judgement in the ledger.

    Raises:
        StrataError: The run accepts a truth that does not exist, or that nobody may accept.
    """
    from expectations.bridge import validate

    run = run_from_context(context, strata)
    accepted = read_accepted(context.run.tags.get(ACCEPT_TAG, ""))
    with strata.warehouse().write() as con:
        result = validate(con, gate.suite).accept(accepted)
        ledger.record(con, run, result)
    return result


def read_accepted(tag: str) -> frozenset[str]:
    """Read the names of accepted truths, separated by commas.

    Raises:
        StrataError: A name is no truth's, or one that nobody may accept.
    """
    names = frozenset(name.strip() for name in tag.split(",") if name.strip())
    acceptable = {truth.name for gate in GATES for truth in gate.suite.truths if truth.may_be_accepted}
    if wrong := sorted(names - acceptable):
        raise StrataError(
            f"nobody can accept {', '.join(wrong)}",
            where=f"run tag {ACCEPT_TAG}",
            expected=f"names, separated by commas, out of {', '.join(sorted(acceptable))}",
            repair="correct the names, or repair the data",
        )
    return names


def build_gate_checks(gates: Iterable[Gate] = GATES) -> list[dg.AssetChecksDefinition]:
    """Build the checks of gates, by default of every stage's."""
    return [_build_checks(gate) for gate in gates]


def _build_checks(gate: Gate) -> dg.AssetChecksDefinition:
    critical = [truth for truth in gate.suite.truths if truth.severity == "critical"]
    specs = [
        dg.AssetCheckSpec(
            name=gate.check.name,
            asset=gate.asset,
            blocking=True,
            description=f"{len(critical)} truths that must hold before {gate.stage.name} is published: "
            + ", ".join(truth.name for truth in critical)
            + ".",
        ),
        dg.AssetCheckSpec(
            name=gate.warnings_check.name,
            asset=gate.asset,
            blocking=False,
            description=f"Truths about {gate.stage.name} worth a look; they hold nothing back.",
        ),
    ]

    @dg.multi_asset_check(
        name=gate.check.name,
        specs=specs,
        compute_kind="greatexpectations",
        op_tags=WAREHOUSE_OP_TAGS,
        pool=WAREHOUSE_POOL,
    )
    def checks(context: dg.AssetCheckExecutionContext, strata: StrataResource) -> Iterator[dg.AssetCheckResult]:
        result = judge(strata, gate, context)
        for truth in result.failures:
            context.log.error(f"{truth.sentence}; repair: {truth.repair}")
        for truth in result.warnings:
            context.log.warning(f"{truth.sentence}; repair: {truth.repair}")
        yield dg.AssetCheckResult(
            check_name=gate.check.name,
            asset_key=gate.asset,
            passed=result.passed,
            severity=gate.severity,
            description=_summarise(result.failures, "every truth holds"),
            metadata=_metadata(gate, result, "critical"),
        )
        yield dg.AssetCheckResult(
            check_name=gate.warnings_check.name,
            asset_key=gate.asset,
            passed=not result.warnings,
            severity=dg.AssetCheckSeverity.WARN,
            description=_summarise(result.warnings, "nothing to warn of"),
            metadata=_metadata(gate, result, "warning"),
        )

    return checks


def _summarise(failed: tuple[TruthResult, ...], otherwise: str) -> str:
    return "; ".join(truth.sentence for truth in failed) or otherwise


def _metadata(gate: Gate, result: SuiteResult, severity: str) -> dict[str, dg.MetadataValue]:
    truths = [truth for truth in result.truths if truth.severity == severity]
    failed = [truth for truth in truths if not truth.passed]
    shown: dict[str, dg.MetadataValue] = {
        "truths": dg.MetadataValue.int(len(truths)),
        "failed": dg.MetadataValue.int(len(failed)),
        "contradicting_rows": dg.MetadataValue.int(sum(truth.unexpected_count or 0 for truth in failed)),
        "suite": dg.MetadataValue.text(gate.suite.name),
    }
    if truths:
        shown["results"] = dg.MetadataValue.table([_row(truth) for truth in truths])
    if failed:
        shown["repair"] = dg.MetadataValue.md(_explain_repair(gate, failed))
    return shown


def _row(truth: TruthResult) -> dg.TableRecord:
    return dg.TableRecord(
        {
            "truth": truth.name,
            "result": "holds" if truth.passed else "does not hold",
            "severity": truth.severity,
            "table": truth.table,
            "observed": truth.observed,
            "expected": truth.expected,
        }
    )


def _explain_repair(gate: Gate, failed: list[TruthResult]) -> str:
    lines = []
    for truth in failed:
        lines.append(f"* **{truth.name}** — {truth.repair}")
        if truth.may_be_accepted and truth.severity == "critical":
            command = f"strata run --from {gate.stage.name} --accept {truth.name}"
            lines.append(f"    * to accept it once: `{command}` (run tag `{ACCEPT_TAG}`)")
        lines += [f"    * {', '.join(f'{name} {value}' for name, value in row.items())}" for row in truth.sample]
    lines.append(f"\nThen: `strata run --from {gate.stage.name}`")
    return "\n".join(lines)
