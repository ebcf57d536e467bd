"""Source mappings: how the columns of a landed file become the columns of canonical entities.

Belongs here: the shape of ``catalog/sources/*.yml`` and what can be said wrong in it. Does not belong here:
reading landed files (`reader.py`) or turning a mapping into SQL (`projection.py`). Every error names the
file and the line, and what was probably meant.
"""

import codecs
import difflib
import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from segmentation.errors import CatalogError
from segmentation.sources.documents import Document, Location, read_document
from segmentation.sources.entities import ENTITIES, Entity
from segmentation.sources.expressions import Expression, ExpressionError, parse_expression

Format = Literal["csv", "ndjson", "parquet"]

#: The column every expression may read besides those of the file: the 1-based number of the data row.
LINE_COLUMN = "_line"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, ignored_types=(cached_property,))


class ColumnRule(_Strict):
    """Where the value of one canonical column comes from: a column, a constant or an expression."""

    column: str | None = None
    format: str | None = None
    constant: str | int | float | bool | None = None
    expression: str | None = None

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

    @field_validator("reject", "one_row_per", mode="before")
    @classmethod
    def _accept_list(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @property
    def canonical(self) -> Entity:
        """The canonical entity that is filled."""
        return ENTITIES[self.entity]

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
    path: Path = Path()

    @field_validator("feeds", mode="before")
    @classmethod
    def _accept_list(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


def load_mappings(folder: Path) -> tuple[SourceMapping, ...]:
    """Read and check every ``*.yml`` of ``folder``, in order of file name.

    Raises:
        CatalogError: The folder is missing, a file can't be meant as written, or two files claim one source.
    """
    if not folder.is_dir():
        raise CatalogError(
            "there is no folder of source mappings",
            where=str(folder),
            expected="a folder with one .yml file per source",
            repair=f"create {folder} with a mapping, see catalog/sources in the repository",
        )
    loaded: dict[str, SourceMapping] = {}
    for path in sorted(folder.glob("*.yml")):
        document = read_document(path)
        mapping = parse_mapping(document)
        if mapping.source in loaded:
            raise CatalogError(
                f"the source {mapping.source!r} is mapped by two files",
                where=document.where(("source",)),
                expected="one file per source",
                repair=f"rename one source or join it with {loaded[mapping.source].path}",
            )
        loaded[mapping.source] = mapping
    return tuple(loaded.values())


def parse_mapping(document: Document) -> SourceMapping:
    """Turn a YAML document into a checked mapping.

    Raises:
        CatalogError: With file and line of the first thing that is wrong.
    """
    if not isinstance(document.values, dict):
        raise CatalogError(
            "the file holds no mapping",
            where=document.where(),
            expected="keys source, description, owner, feeds",
            repair="see catalog/sources for a complete example",
        )
    try:
        mapping = SourceMapping.model_validate({**document.values, "path": document.path})
    except ValidationError as error:
        raise _explain(error, document) from error
    for feed_index, feed in enumerate(mapping.feeds):
        filled: set[str] = set()
        for index, entity in enumerate(feed.entities):
            at: Location = ("feeds", feed_index, "entities", index)
            if entity.entity in filled:
                raise CatalogError(
                    f"the feed fills {entity.entity} twice",
                    where=document.where((*at, "entity")),
                    expected="each entity once per feed",
                    repair="join the two rules, or map the folder in another source's file as well",
                )
            filled.add(entity.entity)
            _check_entity(entity, document, at)
    return mapping


def _explain(error: ValidationError, document: Document) -> CatalogError:
    # A misspelt key is reported twice, as unknown and as missing; the first says more.
    first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    location: Location = tuple(first["loc"])
    name = str(location[-1]) if location else "file"
    dotted = ".".join(str(part + 1) if isinstance(part, int) else part for part in location)
    if first["type"] == "extra_forbidden":
        known = _known_keys(location)
        return CatalogError(
            f"unknown key {name!r}{_did_you_mean(name, known)}",
            where=document.where(location),
            expected=f"one of {', '.join(known)}",
            repair="rename or remove the key",
        )
    if first["type"] == "missing":
        return CatalogError(
            f"the key {name!r} is missing ({dotted})",
            where=document.where(location),
            expected=f"a value for {name}",
            repair=f"add {name}:",
        )
    text = str(first["msg"]).removeprefix("Value error, ")
    return CatalogError(f"{dotted}: {text}", where=document.where(location), expected=text, repair="correct the value")


_MODELS: dict[str, type[BaseModel]] = {
    "feeds": FeedMapping,
    "entities": EntityMapping,
    "columns": ColumnRule,
    "reject": RejectRule,
}


def _known_keys(location: Location) -> list[str]:
    model: type[BaseModel] = SourceMapping
    for part in location[:-1]:
        model = _MODELS.get(str(part), model)
    return [name for name in model.model_fields if name != "path"]


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _check_entity(mapping: EntityMapping, document: Document, at: Location) -> None:
    if mapping.entity not in ENTITIES:
        raise CatalogError(
            f"unknown entity {mapping.entity!r}{_did_you_mean(mapping.entity, ENTITIES)}",
            where=document.where((*at, "entity")),
            expected=f"one of {', '.join(ENTITIES)}",
            repair="correct the name of the entity",
        )
    entity = mapping.canonical
    names = entity.column_names
    for name in mapping.columns:
        if name not in names:
            raise CatalogError(
                f"{entity.name} has no column {name!r}{_did_you_mean(name, names)}",
                where=document.where((*at, "columns", name)),
                expected=f"one of {', '.join(names)}",
                repair="correct the name of the canonical column",
            )
    missing = [column.name for column in entity.columns if column.required and column.name not in mapping.columns]
    if missing:
        raise CatalogError(
            f"{entity.name}: no rule for the required column {', '.join(missing)}",
            where=document.where((*at, "columns")),
            expected="a rule for every required column",
            repair=f"add {missing[0]}: <column of the file>",
        )
    for index, name in enumerate(mapping.one_row_per):
        if name not in mapping.columns:
            raise CatalogError(
                f"one_row_per names {name!r}, which the mapping does not fill{_did_you_mean(name, mapping.columns)}",
                where=document.where((*at, "one_row_per", index)),
                expected=f"one of {', '.join(mapping.columns)}",
                repair="correct the name",
            )
    _check_formats(mapping, document, at)
    _check_expressions(mapping, document, at)


def _check_formats(mapping: EntityMapping, document: Document, at: Location) -> None:
    types = {column.name: column.type for column in mapping.canonical.columns}
    for name, rule in mapping.columns.items():
        if rule.format is not None and types[name] not in {"TIMESTAMP", "DATE"}:
            raise CatalogError(
                f"{name} is {types[name]}: format is for timestamps and dates",
                where=document.where((*at, "columns", name)),
                expected="a format on a TIMESTAMP or DATE column only",
                repair="remove the format",
            )


def _check_expressions(mapping: EntityMapping, document: Document, at: Location) -> None:
    sites: list[tuple[Location, ColumnRule | RejectRule]] = [
        ((*at, "columns", name, "expression"), rule) for name, rule in mapping.columns.items()
    ]
    sites += [((*at, "reject", index, "when"), rule) for index, rule in enumerate(mapping.reject)]
    for location, rule in sites:
        try:
            _ = rule.parsed
        except ExpressionError as error:
            raise CatalogError(
                str(error),
                where=document.where(location),
                expected="one scalar DuckDB SQL expression over the columns of the file and _line",
                repair="rewrite the expression",
            ) from error
