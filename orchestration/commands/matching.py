"""`strata matching …`: the group, and its commands for models.

Belongs here: asking and showing. Does not belong here: commands for pairs (`matching_review.py`), or matching itself
(`segmentation/identity/matching`).
"""

from dataclasses import dataclass

import typer
from rich.text import Text

from orchestration.commands import matching_review
from orchestration.commands.console import Json, err, hint_table, out, print_json, table
from orchestration.commands.identity_steward import require_warehouse
from orchestration.settings import Settings, now

group = typer.Typer(
    name="matching",
    help="Records that are probably one person's: train a model, look at pairs, label them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@dataclass(frozen=True, slots=True)
class Version:
    """One model, with what training said of it."""

    version: int
    sha256: str
    in_force: bool
    attributes: tuple[str, ...]
    summary: dict[str, int | float | str]


def train(as_json: Json = False) -> None:
    """Learn a model from the published records and write it as the next version; runs go on with the one they have."""
    from segmentation.identity.catalog import load_identifier_rules
    from segmentation.identity.matching.catalog import require_matching
    from segmentation.identity.matching.workshop import train_version

    settings = Settings.load()
    require_warehouse(settings)
    definition, rules = require_matching(settings.catalog), load_identifier_rules(settings.catalog)
    with err.status("Learning …"), settings.warehouse.write() as con:
        _, model = train_version(con, rules, definition, settings.matching_models_folder, at=now())
    found = next(one for one in _read_versions(settings) if one.version == model.version)
    if as_json:
        print_json(found)
        return
    out.print(Text(f"model {found.version}", style="bold"), Text(found.sha256[:12], style="dim"))
    out.print(table(["figure", ""], list(found.summary.items())))
    out.print(
        hint_table(
            [
                (f"model: {found.version}", "in catalog/matching.yml, with enabled: true, puts it in force"),
                ("strata matching models", "all versions"),
            ]
        )
    )


def models(as_json: Json = False) -> None:
    """List the trained models, and which one is in force."""
    settings = Settings.load()
    found = _read_versions(settings)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one.version,
            "in force" if one.in_force else "",
            str(one.summary.get("as_of", "")),
            one.summary.get("records"),
            one.summary.get("expected_matches"),
            ", ".join(one.attributes),
            one.sha256[:12],
        )
        for one in found
    ]
    header = ["model", "", "records as of", "records", "expected matches", "attributes", "sha256"]
    out.print(table(header, rows) if rows else "no model has been trained: strata matching train")


def _read_versions(settings: Settings) -> list[Version]:
    from segmentation.identity.matching.catalog import load_matching
    from segmentation.identity.matching.model_files import fingerprint, list_versions, load_model

    definition = load_matching(settings.catalog)
    in_force = definition.model if definition and definition.enabled else None
    folder = settings.matching_models_folder
    found = [load_model(folder, version) for version in list_versions(folder)]
    return [
        Version(one.version, fingerprint(one), one.version == in_force, tuple(one.kinds), dict(one.summary))
        for one in found
    ]


group.command("train")(train)
group.command("models")(models)
matching_review.register(group)
