"""The catalog of destinations: what ``catalog/destinations.yml`` may say, read and checked.

Belongs here: the shape of a destination, and errors that point at file and line. Does not belong here: how a
kind of destination is written to (``segmentation/sync/stores/``). Next: ``views.py``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from segmentation.complaints import keys_at
from segmentation.documents import Document, read_document, refuse
from segmentation.errors import CatalogProblem, did_you_mean
from segmentation.segments.compiled import CatalogSegment

_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)\}")


class DestinationBase(BaseModel):
    """What every kind of destination declares.

    Attributes:
        name: Key in the catalog file.
        where: File and line of the declaration.
        listed_at: Line of each segment that is listed.
        purposes: Consent purposes a customer must allow, all of them, to be in this destination.
        segments: ``all``, or the only segments that may leave for it.
        regions: Only customers whose residency region is one of these are delivered; empty for all.
        batch_size: Rows per delivered batch.
        max_staleness_seconds: Older answers than this are called stale.
        max_changed_ratio: Share of its customers that one delivery may change; a larger one is held back.
        max_withdrawal_seconds: A refusal should be in the destination within this time; a longer one is warned of.
        reconcile_every_seconds: How often the whole content is read back and compared; 0 is every time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    name: str = Field(default="", exclude=True)
    where: str = Field(default="", exclude=True)
    listed_at: dict[str, int] = Field(default_factory=dict, exclude=True)
    description: str = Field(min_length=1)
    purposes: Annotated[list[str], Field(min_length=1)]
    segments: Literal["all"] | list[str]
    regions: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    owner: str = Field(min_length=1)
    batch_size: int = Field(default=10_000, ge=1, le=100_000)
    max_staleness_seconds: int = Field(ge=1)
    max_changed_ratio: float = Field(default=0.5, gt=0, le=1)
    max_withdrawal_seconds: int = Field(default=172_800, ge=1)
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


def _nameable(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("can't name a destination: use lower-case letters, digits and underscores")
    return name


Destination = Annotated[SqlDestination | FlagdDestination, Field(discriminator="kind")]


class _DestinationsFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    destinations: dict[Annotated[str, AfterValidator(_nameable)], Destination]


def load_destinations(
    path: Path, placeholders: Mapping[str, str], *, known_purposes: Sequence[str] | None = None
) -> list[SqlDestination | FlagdDestination]:
    """Read the catalog of destinations, those that are disabled included, in the order of the file.

    Args:
        path: The catalog file.
        placeholders: Text for ``{name}`` in urls and paths, for example ``{"data": "/srv/strata"}``.
        known_purposes: All consent purposes there are; ``None`` leaves them unchecked.

    Raises:
        CatalogProblems: The file can't be read, or says things that can't be meant; with file and line of each.
    """
    document = read_document(path)
    declared = document.parse(_DestinationsFile, expected="a destination as the header of the file explains it")
    destinations = declared.destinations
    problems: list[CatalogProblem] = []
    for name, destination in destinations.items():
        problems += _check_reserved(document, name, destination)
        problems += _check_purposes(document, name, destination, known_purposes)
        problems += _check_target(document, name, destination, placeholders)
    refuse(problems)
    found = []
    for name, destination in destinations.items():
        key, text = _target(destination)
        listed = enumerate([] if destination.segments == "all" else destination.segments)
        known = {
            "name": name,
            "where": document.where(("destinations", name)),
            "listed_at": {one: document.place(("destinations", name, "segments", at)).line for at, one in listed},
            key: _fill(text, placeholders),
        }
        found.append(destination.model_copy(update=known))
    return found


def check_segments(destinations: Sequence[DestinationBase], known_segments: Sequence[str]) -> None:
    """Refuse destinations that list segments which do not exist.

    Raises:
        CatalogProblems: With the file and line of every such destination.
    """
    problems = []
    for destination in destinations:
        missing = set() if destination.segments == "all" else set(destination.segments) - set(known_segments)
        if missing:
            problems.append(
                CatalogProblem(
                    *_declared_at(destination),
                    f"destination {destination.name} lists unknown segments: {', '.join(sorted(missing))}",
                    expected=f"segments of the catalog: {', '.join(sorted(known_segments)) or 'none yet'}",
                    repair="edit the file, then: strata validate",
                )
            )
    refuse(problems)


def listed_segments(destination: DestinationBase) -> Iterator[tuple[str, str, str]]:
    """Yield each segment that a destination lists: its key, what names it, and the place as ``file:line``."""
    file, _ = _declared_at(destination)
    for key, line in destination.listed_at.items():
        yield key, f"destination {destination.name}", f"{file}:{line}"


def takes(destination: DestinationBase, segment_key: str, named: Sequence[str]) -> bool:
    """Say whether a segment leaves for a destination.

    Args:
        destination: The destination.
        segment_key: The segment.
        named: The destinations that the segment names; none for all.
    """
    listed = destination.segments == "all" or segment_key in destination.segments
    return destination.enabled and listed and (not named or destination.name in named)


def find_disagreements(
    destinations: Sequence[DestinationBase], segments: Iterable[CatalogSegment]
) -> Iterator[CatalogProblem]:
    """Yield a warning wherever a destination and a segment disagree on whether the segment leaves for it.

    Both have to say so; where one does not, nobody of the segment is delivered, and nothing else tells.
    """
    by_name = {destination.name: destination for destination in destinations}
    for segment in segments:
        key, named = segment.key, segment.definition.destinations
        if not named or segment.definition.lifecycle == "retired":
            continue
        for destination in destinations:
            if key in destination.listed_at and destination.name not in named:
                file, _ = _declared_at(destination)
                yield CatalogProblem(
                    file,
                    destination.listed_at[key],
                    f"destination {destination.name} lists {key}, which goes to {', '.join(named)} alone: "
                    "nobody of it is delivered",
                    expected=f"{destination.name} among the destinations of {segment.file}:"
                    f"{segment.line('destinations')}",
                    repair=f"name {destination.name} there, or take {key} out of this list",
                    severity="warning",
                )
        for name in named:
            taker = by_name.get(name)
            if taker is not None and taker.segments != "all" and key not in taker.segments:
                yield CatalogProblem(
                    segment.file,
                    segment.line("destinations"),
                    f"{key} names destination {name}, which does not list it: nobody of it is delivered there",
                    expected=f"{key} among the segments of {taker.where}",
                    repair=f"list {key} there, or take {name} out of this list",
                    severity="warning",
                )


def _declared_at(destination: DestinationBase) -> tuple[str, int]:
    file, _, line = destination.where.rpartition(":")
    return file or destination.where, int(line) if line.isdigit() else 1


def _check_reserved(document: Document, name: str, destination: DestinationBase) -> Iterator[CatalogProblem]:
    for reserved in ("name", "where", "listed_at"):
        place = ("destinations", name, reserved)
        if place in document.places:
            known = ", ".join(keys_at(type(destination), ()))
            what = f"unknown key destinations.{name}.{reserved}: the key above is the name"
            yield document.problem(what, place, expected=f"one of {known}")


def _check_purposes(
    document: Document, name: str, destination: DestinationBase, known: Sequence[str] | None
) -> Iterator[CatalogProblem]:
    for index, purpose in enumerate(destination.purposes):
        if known is not None and purpose not in known:
            what = f"destination {name}: unknown consent purpose {purpose!r}{did_you_mean(purpose, known)}"
            place = ("destinations", name, "purposes", index)
            yield document.problem(what, place, expected=f"one of {', '.join(known)}")


def _check_target(
    document: Document, name: str, destination: SqlDestination | FlagdDestination, placeholders: Mapping[str, str]
) -> Iterator[CatalogProblem]:
    key, text = _target(destination)
    place = ("destinations", name, key)
    unknown = [found for found in _PLACEHOLDER.findall(text) if found not in placeholders]
    for found in unknown:
        what = f"destination {name}: unknown placeholder {{{found}}} in {key}{did_you_mean(found, placeholders)}"
        yield document.problem(what, place, expected=f"one of {', '.join('{' + one + '}' for one in placeholders)}")
    if key == "url" and not unknown:
        try:
            make_url(_fill(text, placeholders))
        except ArgumentError:
            # The text may hold a password, so it is not repeated.
            what = f"destination {name}: url is no database url"
            yield document.problem(what, place, expected="dialect://user:password@host/database, or sqlite:///file")


def _target(destination: SqlDestination | FlagdDestination) -> tuple[str, str]:
    if isinstance(destination, SqlDestination):
        return "url", destination.url
    return "path", destination.path


def _fill(text: str, placeholders: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: placeholders[match[1]], text)
