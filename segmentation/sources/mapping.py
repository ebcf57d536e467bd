"""The catalog's source mappings, read and checked.

Belongs here: `load_mappings`, and saying what is wrong in ``catalog/sources/*.yml``. Does not belong here: the shape
of a mapping (`feeds.py`) or reading landed files (`reader.py`). Every error names the file and the line, and what was
probably meant.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ValidationError

from segmentation.errors import CatalogError
from segmentation.sources.documents import Document, Location, read_document
from segmentation.sources.entities import ENTITIES
from segmentation.sources.expressions import ExpressionError, accepts_constant, accepts_format
from segmentation.sources.feeds import ColumnRule, EntityMapping, FeedMapping, RejectRule, SourceMapping

__all__ = ["SourceMapping", "load_mappings", "parse_mapping"]


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
        kind = types[name]
        problem = ""
        if rule.format is not None and kind not in {"TIMESTAMP", "DATE"}:
            problem = f"{name} is {kind}: format is for timestamps and dates"
        elif rule.format is not None and not accepts_format(rule.format):
            problem = f"{name}: {rule.format!r} is not a strptime format"
        elif rule.constant is not None and not accepts_constant(str(rule.constant), kind):
            problem = f"{name}: the constant {rule.constant!r} is not a {kind}"
        if problem:
            raise CatalogError(
                problem,
                where=document.where((*at, "columns", name)),
                expected=f"a value of type {kind}, with a strptime format only for TIMESTAMP and DATE",
                repair="correct the rule of the column",
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
