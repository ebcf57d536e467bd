"""What `catalog/matching.yml` says: attributes, where they are read, the model in force, from when on pairs count.

Belongs here: reading and checking the file. Does not belong here: kinds of attributes (`kinds.py`), or models as files
(`model_files.py`).
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Self

import duckdb
from pydantic import BaseModel, ConfigDict, Field, model_validator

from segmentation.documents import Document, read_document, refuse
from segmentation.errors import CatalogProblem, StrataError, did_you_mean
from segmentation.identity.matching.clusters import Ladder
from segmentation.identity.matching.kinds import KINDS
from segmentation.identity.matching.model_files import list_versions
from segmentation.identity.matching.scoring import weight_of
from segmentation.sources.entities import ENTITIES, IDENTITY_COLUMNS

MATCHING_FILE = "matching.yml"

#: Types of identifiers that a record can stand for.
RECORD_TYPES = ("source_customer_id", "user_id", "email")

Share = Annotated[float, Field(ge=0.0, le=1.0, strict=False)]
Probability = Annotated[float, Field(ge=0.5, lt=1.0, strict=False)]
AttributeName = Annotated[str, Field(pattern="^[a-z][a-z0-9]{0,30}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CleanUp(_Strict):
    """How groups of matches that hang together loosely are taken apart; see `clusters.Ladder`."""

    density: Share = 0.5
    least_size: Annotated[int, Field(ge=3)] = 4


class Automatic(_Strict):
    """When pairs are linked that nobody has looked at.

    Attributes:
        start: Probability that a pair needs; ``from`` in the file.
        least_precision: Share of such pairs that must be right; the lower bound of what a labelled sample shows.
        max_links: New links of one run; the strongest pairs go first, and what is linked already stays.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_by_name=True, validate_by_alias=True)

    start: Probability = Field(alias="from")
    least_precision: Annotated[float, Field(ge=0.9, lt=1.0, strict=False)] = 0.99
    max_links: Annotated[int, Field(ge=1)] = 1000


class MatchingDefinition(_Strict):
    """The whole of ``matching.yml``."""

    enabled: bool
    model: Annotated[int, Field(ge=1)] | None = None
    attributes: dict[AttributeName, str] = Field(min_length=2)
    records: dict[str, dict[str, str]] = Field(min_length=1)
    review_from: Probability = 0.9
    automatic: Automatic | None = None
    clean_up: CleanUp = CleanUp()
    seed: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.automatic and self.automatic.start < self.review_from:
            raise ValueError("automatic.from must not be below review_from: what is linked is found as well")
        if self.enabled and self.model is None:
            raise ValueError("matching is enabled without a model: name a version that strata matching models lists")
        return self

    @property
    def least_weight(self) -> float:
        """Match weight, in bits, that a pair is kept from."""
        return weight_of(self.review_from)

    @property
    def ladder(self) -> Ladder:
        """How groups are cleaned up."""
        return Ladder(self.least_weight, self.clean_up.density, self.clean_up.least_size)


def load_matching(folder: Path, *, models: Path | None = None) -> MatchingDefinition | None:
    """Read and check ``matching.yml`` in ``folder``; ``None`` where there is no such file.

    Args:
        folder: The catalog.
        models: Folder of models; where given, the version in force must be there.

    Raises:
        CatalogProblems: The file says something that can't be meant; names file and line of each.
    """
    path = folder / MATCHING_FILE
    if not path.exists():
        return None
    document = read_document(path)
    definition = document.parse(MatchingDefinition, expected="a setting as the comments of catalog/matching.yml say")
    found = chain(_check_attributes(document, definition), _check_records(document, definition))
    if models is not None:
        found = chain(found, _check_model(document, definition, models))
    refuse(found)
    return definition


def require_matching(folder: Path) -> MatchingDefinition:
    """Return what the catalog says of matching, switched on or not.

    Raises:
        CatalogProblems: The file says something that can't be meant.
        StrataError: There is no file.
    """
    definition = load_matching(folder)
    if definition is None:
        raise StrataError(
            "the catalog says nothing of matching",
            where=str(folder / MATCHING_FILE),
            expected="which attributes records are compared by",
            repair="add the file; docs/matching.md tells of it",
        )
    return definition


def _check_attributes(document: Document, definition: MatchingDefinition) -> Iterator[CatalogProblem]:
    for name, kind in definition.attributes.items():
        if kind not in KINDS:
            what = f"{kind} is not a kind of attribute{did_you_mean(kind, KINDS)}"
            yield document.problem(what, ("attributes", name), expected=f"one of {', '.join(KINDS)}")
    with duckdb.connect() as engine:
        query = "select keyword_name from duckdb_keywords() where keyword_category = 'reserved'"
        reserved = {row[0] for row in engine.execute(query).fetchall()}
    for name in sorted(reserved & set(definition.attributes)):
        yield document.problem(f"{name} is a word of SQL", ("attributes", name), expected=f"such as {name}name")


def _check_records(document: Document, definition: MatchingDefinition) -> Iterator[CatalogProblem]:
    able = [one.name for one in ENTITIES.values() if set(IDENTITY_COLUMNS) <= set(one.column_names)]
    for entity, columns in definition.records.items():
        if entity not in able:
            what = f"{entity} has no records of customers{did_you_mean(entity, able)}"
            yield document.problem(what, ("records", entity), expected=f"one of {', '.join(able)}")
            continue
        known = ENTITIES[entity].column_names
        for attribute, column in columns.items():
            place = ("records", entity, attribute)
            if attribute not in definition.attributes:
                what = f"{attribute} is no attribute{did_you_mean(attribute, definition.attributes)}"
                yield document.problem(what, place, expected=f"one of {', '.join(definition.attributes)}")
            if column not in known:
                what = f"{entity} has no column {column}{did_you_mean(column, known)}"
                yield document.problem(what, place, expected=f"one of {', '.join(known)}")


def _check_model(document: Document, definition: MatchingDefinition, models: Path) -> Iterator[CatalogProblem]:
    versions = list_versions(models)
    if definition.model is not None and definition.model not in versions:
        yield document.problem(
            f"there is no matching model {definition.model} in {models}",
            ("model",),
            expected=f"a trained version: {', '.join(map(str, versions)) or 'none yet'}",
            repair="strata matching train, or name another version",
        )
