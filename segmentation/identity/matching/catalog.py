"""What `catalog/matching.yml` says: attributes, where they are read, thresholds and policy.

Belongs here: reading and checking the file. Does not belong here: kinds of attributes (`kinds.py`), or the model that
the file names (`model.py`).
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal, Self

import duckdb
from pydantic import BaseModel, ConfigDict, Field, model_validator

from segmentation.documents import Document, read_document, refuse
from segmentation.errors import CatalogProblem, did_you_mean
from segmentation.identity.matching.kinds import KINDS
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


class MatchingDefinition(_Strict):
    """The whole of ``matching.yml``."""

    model: Annotated[int, Field(ge=1)] | None = None
    policy: Literal["review", "automatic"] = "review"
    minimum_precision: Annotated[float, Field(ge=0.9, le=1.0, strict=False)] = 0.99
    propose_from: Probability = 0.9
    admit_from: Probability = 0.99
    clean_up: CleanUp = CleanUp()
    attributes: dict[AttributeName, str] = Field(min_length=2)
    records: dict[str, dict[str, str]] = Field(min_length=1)
    blocking: Literal["auto"] | list[list[str]] = "auto"
    seed: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.admit_from < self.propose_from:
            raise ValueError("admit_from must not be below propose_from: what is admitted is proposed as well")
        return self


def load_matching(folder: Path) -> MatchingDefinition | None:
    """Read and check ``matching.yml`` in ``folder``; ``None`` where there is no such file.

    Raises:
        CatalogProblems: The file says something that can't be meant; names file and line of each.
    """
    path = folder / MATCHING_FILE
    if not path.exists():
        return None
    document = read_document(path)
    definition = document.parse(MatchingDefinition, expected="a setting as catalog/matching.yml explains it")
    refuse(chain(_check_attributes(document, definition), _check_records(document, definition)))
    return definition


def _check_attributes(document: Document, definition: MatchingDefinition) -> Iterator[CatalogProblem]:
    for name, kind in definition.attributes.items():
        place = ("attributes", name)
        if kind not in KINDS:
            what = f"{kind} is not a kind of attribute{did_you_mean(kind, KINDS)}"
            yield document.problem(what, place, expected=f"one of {', '.join(KINDS)}")
    with duckdb.connect() as engine:
        query = "select keyword_name from duckdb_keywords() where keyword_category = 'reserved'"
        reserved = {row[0] for row in engine.execute(query).fetchall()}
    for name in sorted(reserved & set(definition.attributes)):
        expected = "another name, such as " + name + "name"
        yield document.problem(f"{name} is a word of SQL", ("attributes", name), expected=expected)
    if definition.blocking == "auto":
        return
    for index, key in enumerate(definition.blocking):
        for name in key:
            if name not in definition.attributes:
                what = f"{name} is no attribute{did_you_mean(name, definition.attributes)}"
                expected = f"one of {', '.join(definition.attributes)}"
                yield document.problem(what, ("blocking", index), expected=expected)


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
