"""The shape of a source mapping: sources, feeds, entities, columns.

Belongs here: what `catalog/sources/*.yml` may say, and what follows from it. Does not belong here: reading the files
and explaining their mistakes (`mapping.py`) or turning a mapping into SQL (`projection.py`).
"""

import codecs
import hashlib
import json
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from segmentation.sources.entities import ENTITIES, Entity
from segmentation.sources.expressions import Expression, parse_expression

Format = Literal["csv", "ndjson", "parquet"]

#: The column every expression may read besides those of the file: the 1-based number of the data row.
LINE_COLUMN = "_line"

#: What names of columns begin with that loading adds for itself while it reads; no mapping may read such a name.
OWN_PREFIX = "_strata_"

#: The column that says which of several files a row is from, while they are staged together.
FILE_COLUMN = f"{OWN_PREFIX}file_id"

#: The engine's own name for a row's place in a Parquet file, from 0; text rows have one too.
POSITION_COLUMN = "file_row_number"


def is_reserved(name: str) -> bool:
    """Say whether loading uses the name itself, so that no column of a file can be read by it; case does not count."""
    return name.lower() in {LINE_COLUMN, POSITION_COLUMN} or name.lower().startswith(OWN_PREFIX)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, ignored_types=(cached_property,))


class AskedConsent(_Strict):
    """What a person must allow for something of theirs to be loaded.

    Attributes:
        purposes: Purposes of the catalog; all of them must be allowed.
        undecided: What is done with what belongs to somebody who has decided nothing, or to nobody known.
    """

    purposes: tuple[str, ...] = Field(min_length=1)
    undecided: Literal["withhold", "load"] = "withhold"

    @field_validator("purposes", mode="before")
    @classmethod
    def _accept_list(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


class RowConsent(AskedConsent):
    """What must be allowed for a row; without it, the row is dropped."""

    without: Literal["drop"] = "drop"


class FieldConsent(AskedConsent):
    """What must be allowed for one column's value; without it, the row is loaded without the value."""

    without: Literal["strip"] = "strip"


class ColumnRule(_Strict):
    """Where the value of one canonical column comes from: a column, a constant or an expression."""

    column: str | None = None
    format: str | None = None
    constant: str | int | float | bool | None = None
    expression: str | None = None
    consent: FieldConsent | None = None

    @model_validator(mode="before")
    @classmethod
    def _accept_shorthand(cls, value: object) -> object:
        return {"column": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _have_one_origin(self) -> "ColumnRule":
        given = [name for name in ("column", "constant", "expression") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of column, constant, expression")
        if self.format is not None and given == ["constant"]:
            raise ValueError("format goes with a column or an expression, not with a constant")
        return self

    @cached_property
    def parsed(self) -> Expression | None:
        """The expression, checked; ``None`` for a column or a constant."""
        return None if self.expression is None else parse_expression(self.expression)

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of the file that the rule reads."""
        if self.column is not None:
            return (self.column,)
        return self.parsed.columns if self.parsed else ()


class RejectRule(_Strict):
    """A condition under which a row goes to quarantine, and the reason it is given there."""

    when: str
    reason: str = Field(min_length=1)

    @cached_property
    def parsed(self) -> Expression:
        """The condition, checked."""
        return parse_expression(self.when)


class EntityMapping(_Strict):
    """How the rows of a feed become rows of one entity."""

    entity: str
    columns: dict[str, ColumnRule] = Field(min_length=1)
    reject: tuple[RejectRule, ...] = ()
    one_row_per: tuple[str, ...] = ()
    consent: RowConsent | None = None

    @field_validator("reject", "one_row_per", mode="before")
    @classmethod
    def _accept_list(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @property
    def canonical(self) -> Entity:
        """The canonical entity that is filled."""
        return ENTITIES[self.entity]

    @property
    def asked(self) -> dict[str, AskedConsent]:
        """What consent is asked for, by the column that it is for; the whole row's under the empty name, first."""
        row: dict[str, AskedConsent] = {"": self.consent} if self.consent else {}
        return row | {name: rule.consent for name, rule in self.columns.items() if rule.consent}

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of the file that the mapping needs, in order of appearance, without `_line`."""
        names: dict[str, None] = {}
        for rule in self.columns.values():
            names.update(dict.fromkeys(rule.reads))
        for reject in self.reject:
            names.update(dict.fromkeys(reject.parsed.columns))
        return tuple(name for name in names if name != LINE_COLUMN)

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns of the file that are the one origin of a required column."""
        required = {column.name for column in self.canonical.columns if column.required}
        return tuple(rule.column for name, rule in self.columns.items() if name in required and rule.column)


class FeedMapping(_Strict):
    """One folder of files of one shape.

    Attributes:
        folder: Folder below the landing root.
        pattern: File names in the folder that belong to the feed, as a glob.
        null_values: Texts that mean "no value"; in CSV an empty field always does.
    """

    folder: str = Field(min_length=1)
    pattern: str = "*"
    format: Format | None = None
    encoding: str = "utf-8"
    delimiter: str = ","
    null_values: tuple[str, ...] = ("",)
    entities: tuple[EntityMapping, ...] = Field(min_length=1)

    @field_validator("null_values", "entities", mode="before")
    @classmethod
    def _accept_list(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("folder")
    @classmethod
    def _stay_below_the_landing_root(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError("the folder must lie below the landing root")
        return str(path)

    @field_validator("encoding")
    @classmethod
    def _be_known(cls, value: str) -> str:
        try:
            return codecs.lookup(value).name
        except LookupError:
            raise ValueError(f"unknown encoding {value!r}; use for example utf-8, latin-1, cp1252") from None

    @field_validator("delimiter")
    @classmethod
    def _be_one_character(cls, value: str) -> str:
        if len(value) != 1 or value in '"\r\n':
            raise ValueError("the delimiter is one character, neither a quote nor a line end")
        return value

    def hash_of(self, mapping: EntityMapping, source: str) -> str:
        """Return what identifies this way of reading: a file is loaded again when it changes.

        Folder, pattern, descriptions and the feed's other entities don't count: they change no row.
        """
        facts = {
            "source": source,
            "format": self.format,
            "encoding": self.encoding,
            "delimiter": self.delimiter,
            "null_values": self.null_values,
            "mapping": mapping.model_dump(exclude_none=True),
        }
        text = json.dumps(facts, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of the file that any of the feed's entities needs."""
        return tuple(dict.fromkeys(name for mapping in self.entities for name in mapping.reads))


class SourceMapping(_Strict):
    """One source system and its feeds; ``path`` is the catalog file it was read from."""

    source: str = Field(min_length=1)
    description: str = ""
    owner: str = ""
    feeds: tuple[FeedMapping, ...] = Field(min_length=1)
    path: Path = Field(default=Path(), exclude=True)

    @field_validator("feeds", mode="before")
    @classmethod
    def _accept_list(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value
