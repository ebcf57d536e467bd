"""What assets and gates ask Dagster for: the warehouse, the settings, the run.

Belongs here: thin wrappers that make settings available to steps. Does not belong here: any work on data.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import PrivateAttr, SecretStr

from orchestration.settings import Settings
from orchestration.stages import STAGE_NAMES
from segmentation.contracts import latest_candidate
from segmentation.errors import StrataError
from segmentation.run import Run, as_utc
from segmentation.warehouse import Warehouse, table_exists

#: How far clocks may differ between who starts a run and who carries it out.
_CLOCK_TOLERANCE = timedelta(days=1)

#: Run tag that names the moment a run describes.
AS_OF_TAG = "strata/as_of"

#: Run tag that a schedule sets: when the run was due. A run that was overtaken describes a later moment.
DUE_TAG = "strata/due"

#: Run tag of a decision about a segment that can't wait: definitions stay as they are live, and pins alone act.
PINS_ALONE_TAG = "strata/pins_alone"

#: Run tag of the run that carries out a plan: what the plan was made on, which the run must find.
PLANNED_TAG = "strata/planned"

#: Everything that opens the warehouse for writing is in this pool, which lets one step in at a time.
WAREHOUSE_POOL = "warehouse"

#: The same limit for the multiprocess executor, which needs no instance to hold it.
WAREHOUSE_OP_TAGS = {"warehouse": "write"}


class StrataResource(dg.ConfigurableResource[Any]):
    """The installation that a step works on.

    ``overrides`` are settings as JSON: the way tests and the command line hand a step settings that
    differ from the environment, also across processes.
    """

    overrides: str = "{}"

    _settings: Settings | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, settings: Settings) -> "StrataResource":
        """Wrap settings that are already read.

        Dagster shows and stores a resource's configuration, so secrets stay out of it: steps read those from
        the environment.
        """
        values = {name: getattr(settings, name) for name in settings.model_fields_set}
        shown = {name: _plain(value) for name, value in values.items() if not isinstance(value, SecretStr)}
        return cls(overrides=json.dumps(shown))

    @property
    def settings(self) -> Settings:
        """Settings of this installation."""
        if self._settings is None:
            self._settings = Settings.load(**json.loads(self.overrides))
        return self._settings

    def warehouse(self) -> Warehouse:
        """The warehouse of this installation."""
        return self.settings.warehouse


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)


def run_from_context(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, strata: StrataResource) -> Run:
    """Return the run that a step belongs to: the same id and the same moment for all of its steps.

    The first step of a run decides the moment where nobody named one, and writes it on the run as a tag: the
    other steps, also those of other processes, and people who look at the run find it there.

    Raises:
        StrataError: The run was given a moment that has not come. Published, it would refuse every run until then.
    """
    instance, run_id = context.instance, context.run.run_id
    record = instance.get_run_record_by_id(run_id)
    started = record.create_timestamp.astimezone(UTC) if record else datetime.now(UTC)
    tags = record.dagster_run.tags if record else context.run.tags
    usual = strata.settings.resolve_as_of(started)
    if named := tags.get(AS_OF_TAG):
        as_of = as_utc(datetime.fromisoformat(named))
    else:
        due = tags.get(DUE_TAG)
        as_of = _decide_moment(context, strata, as_utc(datetime.fromisoformat(due)) if due else usual)
        instance.add_run_tags(run_id, {AS_OF_TAG: as_of.isoformat()})
    if as_of > max(as_utc(started), usual) + _CLOCK_TOLERANCE:
        raise StrataError(
            f"the run's moment, {as_of:%Y-%m-%d %H:%M}, has not come yet",
            where=f"run tag {AS_OF_TAG}, or --as-of",
            expected=f"a moment up to {max(as_utc(started), usual):%Y-%m-%d %H:%M}",
            repair="name such a moment, or leave it out",
        )
    return Run(
        run_id=run_id,
        as_of=as_of.replace(microsecond=0),
        recorded_at=as_utc(started).replace(microsecond=0),
    )


def _decide_moment(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, strata: StrataResource, due: datetime
) -> datetime:
    """Return the moment of a run that nobody named one for, asked in its first step.

    A run of a part goes on from what the stage before has published. A run of the whole chain describes the
    moment it was due, or the published one where that is later: a schedule that comes after an arrival has
    nothing to take back.
    """
    warehouse = strata.warehouse()
    if not isinstance(context, dg.AssetExecutionContext) or not warehouse.path.exists():
        return due
    parts = [STAGE_NAMES.index(group) for group in _groups(context) if group in STAGE_NAMES]
    place = max(parts, default=len(STAGE_NAMES))
    with warehouse.write() as con:
        if not table_exists(con, "ops", "candidates"):
            return due
        before = latest_candidate(con, STAGE_NAMES[max(place - 1, 0)], published=True)
    if before is None:
        return due
    if place > 0:
        return before.as_of
    return due if strata.settings.as_of else max(due, before.as_of)


def _groups(context: dg.AssetExecutionContext) -> set[str]:
    return set(context.assets_def.group_names_by_key.values())
