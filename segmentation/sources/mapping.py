"""The catalog's source mappings, read and checked.

Belongs here: `load_mappings`, and saying what is wrong in ``catalog/sources/*.yml``. Does not belong here: the shape
of a mapping (`feeds.py`) or reading landed files (`reader.py`). Every problem names the file and the line, and what
was probably meant.
"""

from collections.abc import Collection, Iterator
from pathlib import Path

from segmentation.complaints import Location
from segmentation.documents import Document, read_document, refuse
from segmentation.errors import CatalogError, CatalogProblem, CatalogProblems, did_you_mean
from segmentation.sources.entities import ENTITIES, IDENTITY_COLUMNS
from segmentation.sources.expressions import ExpressionError, accepts_constant, accepts_format
from segmentation.sources.feeds import (
    LINE_COLUMN,
    ColumnRule,
    EntityMapping,
    RejectRule,
    SourceMapping,
    is_reserved,
)

__all__ = ["SourceMapping", "load_mappings", "parse_mapping"]


def load_mappings(folder: Path, *, known_purposes: Collection[str] | None = None) -> tuple[SourceMapping, ...]:
    """Read and check every ``*.yml`` of ``folder``, in order of file name.

    Args:
        folder: The catalog's mappings.
        known_purposes: All purposes there are; ``None`` leaves those that mappings ask consent for unchecked.

    Raises:
        CatalogError: The folder is missing.
        CatalogProblems: Files can't be meant as written, or two files claim one source; with all problems.
    """
    if not folder.is_dir():
        raise CatalogError(
            "there is no folder of source mappings",
            where=str(folder),
            expected="a folder with one .yml file per source",
            repair=f"create {folder} with a mapping, see catalog/sources in the repository",
        )
    loaded: dict[str, SourceMapping] = {}
    problems: list[CatalogProblem] = []
    for path in sorted(folder.glob("*.yml")):
        document = read_document(path)
        try:
            mapping = parse_mapping(document, known_purposes=known_purposes)
        except CatalogProblems as error:
            problems.extend(error.problems)
            continue
        if mapping.source in loaded:
            problem = document.problem(
                f"the source {mapping.source!r} is mapped by two files",
                ("source",),
                expected="one file per source",
                repair=f"rename one source or join it with {loaded[mapping.source].path}",
            )
            problems.append(problem)
        loaded.setdefault(mapping.source, mapping)
    refuse(problems)
    return tuple(loaded.values())


def parse_mapping(document: Document, *, known_purposes: Collection[str] | None = None) -> SourceMapping:
    """Turn a YAML document into a checked mapping; ``known_purposes`` as in `load_mappings`.

    Raises:
        CatalogProblems: Everything that is wrong with it, with file and line.
    """
    mapping = document.parse(
        SourceMapping, given={"path": document.path}, expected="a mapping as catalog/sources in the repository shows it"
    )
    refuse(_problems_of(mapping, document, known_purposes))
    return mapping


def _problems_of(
    mapping: SourceMapping, document: Document, known_purposes: Collection[str] | None
) -> Iterator[CatalogProblem]:
    for feed_index, feed in enumerate(mapping.feeds):
        filled: set[str] = set()
        for index, entity in enumerate(feed.entities):
            at: Location = ("feeds", feed_index, "entities", index)
            if entity.entity in filled:
                yield document.problem(
                    f"the feed fills {entity.entity} twice",
                    (*at, "entity"),
                    expected="each entity once per feed",
                    repair="join the two rules, or map the folder in another source's file as well",
                )
            filled.add(entity.entity)
            if entity.entity in ENTITIES:
                yield from _check_names(entity, document, at)
                yield from _check_formats(entity, document, at)
                yield from _check_expressions(entity, document, at)
                yield from _check_reserved(entity, document, at)
                yield from _check_consent(entity, document, at, known_purposes)
            else:
                yield document.problem(
                    f"unknown entity {entity.entity!r}{did_you_mean(entity.entity, ENTITIES)}",
                    (*at, "entity"),
                    expected=f"one of {', '.join(ENTITIES)}",
                    repair="correct the name of the entity",
                )


def _check_names(mapping: EntityMapping, document: Document, at: Location) -> Iterator[CatalogProblem]:
    entity = mapping.canonical
    names = entity.column_names
    unknown = [name for name in mapping.columns if name not in names]
    for name in unknown:
        yield document.problem(
            f"{entity.name} has no column {name!r}{did_you_mean(name, names)}",
            (*at, "columns", name),
            expected=f"one of {', '.join(names)}",
            repair="correct the name of the canonical column",
        )
    missing = [column.name for column in entity.columns if column.required and column.name not in mapping.columns]
    # A misspelt column is also a missing one; the misspelling is what a person can see in the file.
    if missing and not unknown:
        yield document.problem(
            f"{entity.name}: no rule for the required column {', '.join(missing)}",
            (*at, "columns"),
            expected="a rule for every required column",
            repair=f"add {missing[0]}: <column of the file>",
        )
    for index, name in enumerate(mapping.one_row_per):
        if name not in mapping.columns:
            yield document.problem(
                f"one_row_per names {name!r}, which the mapping does not fill{did_you_mean(name, mapping.columns)}",
                (*at, "one_row_per", index),
                expected=f"one of {', '.join(mapping.columns)}",
                repair="correct the name",
            )


def _check_consent(
    mapping: EntityMapping, document: Document, at: Location, known_purposes: Collection[str] | None
) -> Iterator[CatalogProblem]:
    entity = mapping.canonical
    required = {column.name for column in entity.columns if column.required}
    for name, asked in mapping.asked.items():
        place: Location = (*at, "columns", name, "consent") if name else (*at, "consent")
        if not set(IDENTITY_COLUMNS) <= set(entity.column_names):
            yield document.problem(
                f"rows of {entity.name} name nobody whose consent could be asked for",
                place,
                expected="consent of an entity whose rows name customers; parts of its rows go with them",
                repair="take consent out here, and ask it where the rows name a customer, such as orders",
            )
        elif entity.name == "consent_events":
            yield document.problem(
                "decisions about consent are kept whatever they say: without them nobody could refuse",
                place,
                expected="no consent asked for consent_events",
                repair="take consent out here",
            )
        elif name in required:
            yield document.problem(
                f"{entity.name}: no row can be loaded without {name}, so it can't be stripped",
                place,
                expected="consent of a column that may be empty, or of the whole row",
                repair="ask for the row: consent beside columns, with without: drop",
            )
        for index, purpose in enumerate(asked.purposes):
            if known_purposes is not None and purpose not in known_purposes:
                yield document.problem(
                    f"unknown consent purpose {purpose!r}{did_you_mean(purpose, known_purposes)}",
                    (*place, "purposes", index),
                    expected=f"one of {', '.join(known_purposes)}",
                    repair="correct the name, or describe the purpose in catalog/purposes.yml",
                )


def _check_formats(mapping: EntityMapping, document: Document, at: Location) -> Iterator[CatalogProblem]:
    types = {column.name: column.type for column in mapping.canonical.columns}
    for name, rule in mapping.columns.items():
        if name not in types:
            continue
        kind = types[name]
        what = ""
        if rule.format is not None and kind not in {"TIMESTAMP", "DATE"}:
            what = f"{name} is {kind}: format is for timestamps and dates"
        elif rule.format is not None and not accepts_format(rule.format):
            what = f"{name}: {rule.format!r} is not a strptime format"
        elif rule.constant is not None and not accepts_constant(str(rule.constant), kind):
            what = f"{name}: the constant {rule.constant!r} is not a {kind}"
        if what:
            yield document.problem(
                what,
                (*at, "columns", name),
                expected=f"a value of type {kind}, with a strptime format only for TIMESTAMP and DATE",
                repair="correct the rule of the column",
            )


def _check_reserved(mapping: EntityMapping, document: Document, at: Location) -> Iterator[CatalogProblem]:
    reads: list[tuple[Location, str]] = []
    for name, rule in mapping.columns.items():
        if rule.column is not None:
            reads.append(((*at, "columns", name), rule.column))
        reads += [((*at, "columns", name, "expression"), read) for read in _columns_of(rule) if read != LINE_COLUMN]
    for index, reject in enumerate(mapping.reject):
        reads += [((*at, "reject", index, "when"), read) for read in _columns_of(reject) if read != LINE_COLUMN]
    for location, read in reads:
        if is_reserved(read):
            yield document.problem(
                f"{read} is a name that loading uses itself: no column of a file can be read by it",
                location,
                expected=f"a column of the file; in expressions also {LINE_COLUMN}, the number of the row",
                repair="rename the column in the file and here"
                if read.lower() != LINE_COLUMN
                else f'{{expression: "cast({LINE_COLUMN} as varchar)"}}, if the number of the row is meant',
            )


def _columns_of(rule: ColumnRule | RejectRule) -> tuple[str, ...]:
    """Columns that the rule's expression reads; none where it has none, or one that `_check_expressions` refuses."""
    try:
        return rule.parsed.columns if rule.parsed else ()
    except ExpressionError:
        return ()


def _check_expressions(mapping: EntityMapping, document: Document, at: Location) -> Iterator[CatalogProblem]:
    sites: list[tuple[Location, ColumnRule | RejectRule]] = [
        ((*at, "columns", name, "expression"), rule) for name, rule in mapping.columns.items()
    ]
    sites += [((*at, "reject", index, "when"), rule) for index, rule in enumerate(mapping.reject)]
    for location, rule in sites:
        try:
            _ = rule.parsed
        except ExpressionError as error:
            yield document.problem(
                str(error),
                location,
                expected="one scalar DuckDB SQL expression over the columns of the file and _line",
                repair="rewrite the expression",
            )
