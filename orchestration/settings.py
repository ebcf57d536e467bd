"""Every knob, read from the environment once.

Belongs here: what differs between machines (paths, limits, addresses). Does not belong here: what differs
between companies; that is the catalog. Nothing else in the project reads the environment.
"""

import json
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from segmentation.errors import StrataError
from segmentation.run import as_utc
from segmentation.warehouse import Warehouse

ROOT = Path(__file__).resolve().parents[1]

#: What a landing folder may say of itself; the sample company writes it.
LANDING_MANIFEST = "_sample.json"


class Settings(BaseSettings):
    """Settings of one installation; each is an environment variable ``STRATA_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="STRATA_", extra="forbid", validate_default=True)

    data: Path = Field(default=ROOT / "data", description="Folder of everything that a run reads or writes.")
    catalog: Path = Field(default=ROOT / "catalog", description="Folder of what people edit.")
    landing: Path | None = Field(default=None, description="Where files land; default <data>/landing.")
    dbt_project: Path = Field(default=ROOT / "dbt_project", description="Folder of the dbt project.")
    as_of: datetime | None = Field(default=None, description="The moment results describe; default: see docs.")
    memory_limit: str = Field(default="3GB", description="Memory that the warehouse engine may use.")
    threads: int = Field(default=0, ge=0, description="Threads of the warehouse engine; 0: one per core.")
    lock_wait_seconds: float = Field(default=60, ge=0, description="How long to wait for another writer.")
    dagster_home: Path = Field(
        default=ROOT / "orchestration" / "home",
        validation_alias=AliasChoices("DAGSTER_HOME", "STRATA_DAGSTER_HOME", "dagster_home"),
        description="Where Dagster keeps its own records.",
    )
    executor: Literal["in_process", "multiprocess"] = Field(
        default="in_process", description="How Dagster runs steps: in one process, or each in its own."
    )
    schedule_cron: str = Field(default="0 5 * * *", description="When the daily refresh starts, UTC.")
    automation: bool = Field(default=False, description="Start with schedules and sensors switched on.")
    arrival_settle_seconds: int = Field(
        default=10, ge=0, description="How long a landed file must be quiet before it starts a run."
    )
    alert_webhook_url: SecretStr | None = Field(default=None, description="Where alerts are posted as JSON.")
    identity_solver: Literal["embedded", "contraction"] = Field(
        default="embedded", description="Who finds connected identifiers: this process, or the engine by SQL alone."
    )
    identity_full: bool = Field(default=False, description="Solve all of identity anew, not what changed alone.")
    identity_truth: Path | None = Field(
        default=None, description="Labels that every run of identity is scored against."
    )
    sync_state_url: SecretStr | None = Field(
        default=None, description="SQLAlchemy URL of the sync state database; default: SQLite in <data>."
    )

    @field_validator("data", "catalog", "landing", "dbt_project", "dagster_home", "identity_truth")
    @classmethod
    def _make_absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().resolve() if path else path

    @classmethod
    def load(cls, **overrides: object) -> Self:
        """Read the environment; keyword arguments win over it.

        Raises:
            StrataError: A setting has a value that it can't have.
        """
        try:
            return cls(**overrides)  # type: ignore[arg-type]
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
            raise StrataError(
                "a setting can't be used: " + "; ".join(problems),
                where="environment variables STRATA_…",
                expected="a value as docs/settings.md describes it",
                repair="unset the variable, or give it such a value",
            ) from error

    @property
    def landing_folder(self) -> Path:
        """Where files land, one folder per feed."""
        return self.landing or self.data / "landing"

    @property
    def truth_folder(self) -> Path:
        """Where the sample company keeps its truth; no stage reads it."""
        return self.data / "truth"

    @property
    def identity_state_folder(self) -> Path:
        """Where identity exports the one state that no source can rebuild."""
        return self.data / "state" / "identity"

    @property
    def matching_models_folder(self) -> Path:
        """Where trained models of matching are, one file per version."""
        return self.data / "state" / "matching"

    @property
    def segments_state_folder(self) -> Path:
        """Where segments export membership and its history, which nothing can rebuild."""
        return self.data / "state" / "segments"

    @property
    def backfill_folder(self) -> Path:
        """Where a backfill has its copy of the warehouse while it is at work."""
        return self.data / "backfill"

    @property
    def catalog_page(self) -> Path:
        """The catalog of segments as a page for people, written at each publish."""
        return self.data / "catalog.html"

    @property
    def audit_folder(self) -> Path:
        """Where the audit log has its copy, out of the warehouse's reach."""
        return self.data / "state" / "audit"

    @property
    def keys_folder(self) -> Path:
        """Where keys of keyed hashes are kept; never part of a copy for readers."""
        return self.data / "state" / "keys"

    @property
    def sync_state(self) -> str:
        """SQLAlchemy URL of the sync state database."""
        if self.sync_state_url:
            return self.sync_state_url.get_secret_value()
        return f"sqlite:///{self.data / 'state' / 'sync.sqlite'}"

    @cached_property
    def warehouse(self) -> Warehouse:
        """The warehouse of this installation."""
        return Warehouse(
            path=self.data / "warehouse.duckdb",
            published_path=self.data / "published.duckdb",
            memory_limit=self.memory_limit,
            threads=self.threads,
            lock_wait_seconds=self.lock_wait_seconds,
        )

    def resolve_as_of(self, moment: datetime) -> datetime:
        """Return the moment a run describes when its starter named none.

        The setting wins; then the landing folder's own date (the sample company lives on a fixed date);
        else ``moment``, when the run was started or scheduled.
        """
        if self.as_of:
            return as_utc(self.as_of)
        manifest = self.landing_folder / LANDING_MANIFEST
        if manifest.is_file():
            try:
                return as_utc(datetime.fromisoformat(json.loads(manifest.read_text(encoding="utf-8"))["as_of"]))
            except (ValueError, KeyError, TypeError) as error:
                raise StrataError(
                    f"the landing folder's manifest can't be read: {error}",
                    where=str(manifest),
                    expected='JSON with "as_of": "YYYY-MM-DDTHH:MM:SS"',
                    repair=f"remove the file, or name the moment: strata run --as-of {moment:%Y-%m-%d}",
                ) from error
        return as_utc(moment)


def now() -> datetime:
    """The machine's clock, read by those who start runs and by nobody else."""
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)
