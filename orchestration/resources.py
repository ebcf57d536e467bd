"""What assets and gates ask Dagster for: the warehouse, the settings, the run.

Belongs here: thin wrappers that make settings available to steps. Does not belong here: any work on data.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import PrivateAttr, SecretStr

from orchestration.settings import Settings
from segmentation.errors import StrataError
from segmentation.run import Run, as_utc
from segmentation.warehouse import Warehouse

#: How far clocks may differ between who starts a run and who carries it out.
_CLOCK_TOLERANCE = timedelta(days=1)

#: Run tag that names the moment a run describes.
AS_OF_TAG = "strata/as_of"

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

    Raises:
        StrataError: The run was given a moment that has not come. Published, it would refuse every run until then.
    """
    record = context.instance.get_run_record_by_id(context.run.run_id)
    started = record.create_timestamp.astimezone(UTC) if record else datetime.now(UTC)
    tag = context.run.tags.get(AS_OF_TAG)
    usual = strata.settings.resolve_as_of(started)
    as_of = as_utc(datetime.fromisoformat(tag)) if tag else usual
    if as_of > max(as_utc(started), usual) + _CLOCK_TOLERANCE:
        raise StrataError(
            f"the run's moment, {as_of:%Y-%m-%d %H:%M}, has not come yet",
            where=f"run tag {AS_OF_TAG}, or --as-of",
            expected=f"a moment up to {max(as_utc(started), usual):%Y-%m-%d %H:%M}",
            repair="name such a moment, or leave it out",
        )
    return Run(
        run_id=context.run.run_id,
        as_of=as_of.replace(microsecond=0),
        recorded_at=as_utc(started).replace(microsecond=0),
    )
