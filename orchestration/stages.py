"""The one map of the stages: their order, and every place that bears a stage's name.

Belongs here: what a stage is called, what it is for, who owns it. Does not belong here: what it does
(`segmentation/<stage>/`) or how Dagster runs it (`assets/<stage>.py`). One word names a stage
everywhere, so each place is derived from that word; a test asserts that all of them exist.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the flow, ended by a gate.

    ``name`` is the word used for the asset module, the Dagster group, the dbt group, the warehouse
    schema, the gate, the domain package and the test folder.
    """

    name: str
    summary: str
    owner: str

    @property
    def schema(self) -> str:
        """Warehouse schema that holds the stage's tables."""
        return self.name

    @property
    def asset_module(self) -> str:
        """Python module with the stage's assets."""
        return f"assets.{self.name}"

    @property
    def domain_package(self) -> str:
        """Python package with the stage's logic, free of any orchestrator."""
        return f"segmentation.{self.name}"

    @property
    def suite_module(self) -> str:
        """Python module with the stage's expectation suite."""
        return f"expectations.suites.{self.name}"

    @property
    def dbt_group(self) -> str:
        """dbt group of the stage's models."""
        return self.name

    @property
    def dbt_selector(self) -> str:
        """dbt node selection for the stage's models."""
        return f"group:{self.name}"

    @property
    def test_folder(self) -> str:
        """Folder with the stage's unit tests, relative to the project's root."""
        return f"tests/unit/{self.name}"

    @property
    def candidate_key(self) -> tuple[str, str]:
        """Asset key of what the stage's gate judges."""
        return (self.name, "candidate")


STAGES: tuple[Stage, ...] = (
    Stage("sources", "Land files, map them to canonical entities, quarantine bad rows.", "team:data-platform"),
    Stage("identity", "Resolve identifiers to persistent customers, with consent.", "team:identity"),
    Stage("features", "Compute one wide row of facts per customer, as of the run.", "team:analytics"),
    Stage("segments", "Decide who is in which segment, and log every change.", "team:growth"),
    Stage("costs", "Allocate the bill to segments, to the micro.", "team:finops"),
    Stage("sync", "Keep every runtime system in step with membership, and prove it.", "team:runtime"),
)

STAGE_NAMES: tuple[str, ...] = tuple(stage.name for stage in STAGES)


def stage(name: str) -> Stage:
    """Return the stage called ``name``; raise ``KeyError`` naming the known ones otherwise."""
    for candidate in STAGES:
        if candidate.name == name:
            return candidate
    raise KeyError(f"unknown stage {name!r}; the stages are {', '.join(STAGE_NAMES)}")


def upstream_of(name: str) -> tuple[Stage, ...]:
    """Return every stage before ``name``, in order: all of their gates must be open for it to run."""
    return STAGES[: STAGE_NAMES.index(stage(name).name)]
