"""`strata identity evaluate`: how right the published map is, against labels."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from orchestration.commands.console import Json, out, print_json, table
from orchestration.commands.looking import looking
from orchestration.settings import Settings, now

Labels = Annotated[
    Path,
    typer.Option(
        "--truth",
        help="Labels, CSV or Parquet: entity_id with id_type and id_value, or with node_id, or "
        "with columns such as email and user_id.",
    ),
]


def register(group: typer.Typer) -> None:
    """Add the command to ``strata identity``."""
    group.command("evaluate")(evaluate)


def evaluate(truth: Labels, as_json: Json = False) -> None:
    """Score the published map against labels, and keep the scores with the run that published it.

    While a run is writing, the readers' copy is scored, and the scores are shown but not kept.
    Exit code 1: the labels can't be used. 5: there is no such file, or nothing to score.
    """
    from segmentation.identity.catalog import load_identity_catalog
    from segmentation.identity.scorecard import evaluate as score

    settings = Settings.load()
    rules = load_identity_catalog(settings.catalog).rules
    with looking(settings.warehouse, "identifiers", ("identity", "identifier_map")) as sight:
        card = score(sight.con, truth, rules, recorded_at=now(), keep=sight.copied_at is None)
    if as_json:
        print_json(asdict(card) | {"copied_at": sight.copied_at})
        return
    if sight.note:
        out.print(Text(f"{sight.note}; these scores are not kept", style="yellow"))
    labels = card.truth
    out.print(Text(f"{labels.labelled:,} labelled identifiers", style="bold"), f"as of {card.as_of:%Y-%m-%d %H:%M}")
    if labels.unknown or labels.shared:
        facts = (
            f"left out: {labels.unknown:,} labels of identifiers that no run met, "
            f"{labels.shared:,} identifiers of several entities"
        )
        out.print(Text(facts, style="dim"))
    rows = [(one.metric, _shown(one.value), _interval(one.ci_low, one.ci_high), one.n) for one in card.metrics]
    out.print(table(["metric", "value", "95 % interval", "measured on"], rows))
    out.print(Text("what each one means: docs/identity.md, Scores", style="dim"))


def _shown(value: float | None) -> Text:
    shown = "–" if value is None else f"{value:,.0f}" if value == int(value) and value > 1 else f"{value:,.4f}"
    return Text(shown, justify="right")


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{_shown(low)} – {_shown(high)}"
