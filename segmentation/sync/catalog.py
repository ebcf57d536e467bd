"""The catalog of destinations: what ``catalog/destinations.yml`` may say, read and checked.

Belongs here: the shape of a destination, and errors that point at file and line. Does not belong here: how a
kind of destination is written to (``segmentation/sync/stores/``). Next: ``views.py``.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from segmentation.errors import CatalogError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_TOP_KEY = "destinations"


class DestinationBase(BaseModel):
    """What every kind of destination declares.

    Attributes:
        name: Key in the catalog file.
        where: File and line of the declaration.
        purposes: Consent purposes a customer must allow, all of them, to be in this destination.
        segments: ``all``, or the only segments that may leave for it.
        batch_size: Rows per delivered batch.
        max_staleness_seconds: Older answers than this are called stale.
        reconcile_every_seconds: How often the whole content is read back and compared; 0 is every time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    name: str = ""
    where: str = ""
    description: str = Field(min_length=1)
    purposes: Annotated[list[str], Field(min_length=1)]
    segments: Literal["all"] | list[str]
    owner: str = Field(min_length=1)
    batch_size: int = Field(default=10_000, ge=1, le=100_000)
    max_staleness_seconds: int = Field(ge=1)
    reconcile_every_seconds: int = Field(default=0, ge=0)
    enabled: bool = True

    #: Whether customers are sent to it; if not, only what segments there are.
    holds_customers: ClassVar[bool] = True


class SqlDestination(DestinationBase):
    """An online store in any database that SQLAlchemy and ``insert … on conflict`` can reach."""

    kind: Literal["sqlalchemy"]
    url: str = Field(min_length=1)


class FlagdDestination(DestinationBase):
    """A flag definition file for flagd and OpenFeature providers in file mode."""

    holds_customers: ClassVar[bool] = False
    kind: Literal["flagd"]
    path: str = Field(min_length=1)


Destination = Annotated[SqlDestination | FlagdDestination, Field(discriminator="kind")]
_DESTINATION: TypeAdapter[SqlDestination | FlagdDestination] = TypeAdapter(Destination)


def load_destinations(
    path: Path, placeholders: Mapping[str, str], *, known_purposes: Sequence[str] | None = None
) -> list[SqlDestination | FlagdDestination]:
    """Read the catalog of destinations, those that are disabled included, in the order of the file.

    Args:
        path: The catalog file.
        placeholders: Text for ``{name}`` in urls and paths, for example ``{"data": "/srv/strata"}``.
        known_purposes: All consent purposes there are; ``None`` leaves them unchecked.

    Raises:
        CatalogError: The file can't be read, or says something that can't be meant; with file and line.
    """
    tree, lines = _read(path)
    found: list[SqlDestination | FlagdDestination] = []
    for name, body in tree.items():
        where = f"{path}:{lines[(_TOP_KEY, name)]}"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _wrong(f"{name!r} can't name a destination", where, "lower-case letters, digits and underscores")
        if not isinstance(body, dict):
            raise _wrong(f"destination {name} says nothing", where, "kind, purposes, segments, owner and so on")
        for reserved in ("name", "where"):
            if reserved in body:
                raise _wrong(f"destination {name}: unknown key {reserved!r}", where, "the key above is the name")
        try:
            destination = _DESTINATION.validate_python({**body, "name": name, "where": where})
        except ValidationError as error:
            raise _explained(error, path, name, lines) from None
        if known_purposes is not None:
            _check_purposes(destination, known_purposes, path, lines)
        found.append(_filled(destination, placeholders))
    return found


def check_segments(destinations: Sequence[DestinationBase], known_segments: Sequence[str]) -> None:
    """Refuse a destination that lists a segment which does not exist.

    Raises:
        CatalogError: With the destination's file and line.
    """
    for destination in destinations:
        if destination.segments == "all":
            continue
        missing = sorted(set(destination.segments) - set(known_segments))
        if missing:
            raise _wrong(
                f"destination {destination.name} lists unknown segments: {', '.join(missing)}",
                destination.where,
                f"segments of the catalog: {', '.join(sorted(known_segments)) or 'none yet'}",
            )


def _read(path: Path) -> tuple[dict[object, object], dict[tuple[object, ...], int]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(f"the catalog of destinations can't be read: {error}", str(path), "a UTF-8 YAML file") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[tuple[object, ...], int] = {}
        if node is not None:
            _note_lines(node, (), lines, path)
        tree = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _wrong(f"not YAML: {error.problem}", f"{path}:{line}", "valid YAML") from None
    if not isinstance(tree, dict) or set(tree) != {_TOP_KEY} or not isinstance(tree[_TOP_KEY], dict):
        raise _wrong("the file must hold exactly one mapping", f"{path}:1", f"`{_TOP_KEY}:` and destinations by name")
    return tree[_TOP_KEY], lines


def _note_lines(node: yaml.Node, at: tuple[object, ...], lines: dict[tuple[object, ...], int], path: Path) -> None:
    """Remember on which line each key and list item stands; a key said twice is an error."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*at, key.value)
            line = key.start_mark.line + 1
            if place in lines:
                raise _wrong(f"{key.value!r} is said twice, first on line {lines[place]}", f"{path}:{line}", "once")
            lines[place] = line
            _note_lines(value, place, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*at, index)] = value.start_mark.line + 1
            _note_lines(value, (*at, index), lines, path)


def _explained(error: ValidationError, path: Path, name: str, lines: dict[tuple[object, ...], int]) -> CatalogError:
    first = error.errors(include_url=False)[0]
    # Pydantic puts the union's tag in front of the place; the file does not have it.
    place = tuple(part for part in first["loc"] if part not in ("sqlalchemy", "flagd", "literal['all']", "list[str]"))
    if first["type"] == "union_tag_invalid":
        place = ("kind",)
    line = lines.get((_TOP_KEY, name, *place), lines[(_TOP_KEY, name)])
    key = ".".join(str(part) for part in place)
    return _wrong(f"destination {name}: {key + ': ' if key else ''}{first['msg']}", f"{path}:{line}", "see the header")


def _check_purposes(
    destination: DestinationBase, known: Sequence[str], path: Path, lines: dict[tuple[object, ...], int]
) -> None:
    for index, purpose in enumerate(destination.purposes):
        if purpose not in known:
            line = lines[(_TOP_KEY, destination.name, "purposes", index)]
            raise _wrong(
                f"destination {destination.name}: unknown consent purpose {purpose!r}",
                f"{path}:{line}",
                f"one of {', '.join(known)}",
            )


def _filled(
    destination: SqlDestination | FlagdDestination, placeholders: Mapping[str, str]
) -> SqlDestination | FlagdDestination:
    key = "url" if isinstance(destination, SqlDestination) else "path"
    text: str = getattr(destination, key)
    unknown = [name for name in _PLACEHOLDER.findall(text) if name not in placeholders]
    if unknown:
        raise _wrong(
            f"destination {destination.name}: unknown placeholder {{{unknown[0]}}} in {key}",
            destination.where,
            f"one of {', '.join('{' + name + '}' for name in placeholders)}",
        )
    filled = _PLACEHOLDER.sub(lambda match: placeholders[match[1]], text)
    if key == "url":
        try:
            make_url(filled)
        except ArgumentError:
            # The text may hold a password, so it is not repeated.
            raise _wrong(
                f"destination {destination.name}: url is no database url",
                destination.where,
                "dialect://user:password@host/database, or sqlite:///file",
            ) from None
    return destination.model_copy(update={key: filled})


def _wrong(what: str, where: str, expected: str) -> CatalogError:
    return CatalogError(what, where=where, expected=expected, repair="edit the file, then `strata validate`")
