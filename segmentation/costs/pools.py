"""Cost pools: which charges belong together, and how their cost is shared out.

Belongs here: the model of ``catalog/cost_pools.yml`` and what makes it valid. Does not belong here:
matching charges in SQL (`matching.py`) or allocating (`weights.py`, `allocate.py`).
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from segmentation.complaints import Location
from segmentation.documents import Document, read_document, refuse
from segmentation.errors import CatalogProblem, did_you_mean

IDLE = "__idle__"
UNATTRIBUTED = "__unattributed__"
NO_SEGMENT = "__no_segment__"
OVERHEAD = "__overhead__"
#: Rows that are always possible beside segments; they are never dropped (rule C4).
SPECIAL_ROWS = (IDLE, UNATTRIBUTED, NO_SEGMENT, OVERHEAD)

ChargeCategory = Literal["Usage", "Purchase", "Tax", "Credit", "Adjustment"]
DriverKey = Literal["requests", "compute_ms", "members", "orders", "events"]
Method = Literal["direct", "proportional", "even", "fixed"]
View = Literal["exclusive", "full", "fractional"]

#: Micros of a share: weights and ratios have at most six decimals.
SHARE_DECIMALS = 6


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _exact(value: object) -> object:
    """Take a YAML number by its written digits, so that 0.1 means one tenth."""
    return Decimal(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else value


Patterns = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
Share = Annotated[Decimal, BeforeValidator(_exact), Field(ge=0, le=1, decimal_places=SHARE_DECIMALS)]
Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
TagKey = Annotated[str, Field(min_length=1, pattern=r'^[^"\\]+$')]
Target = Annotated[str, Field(pattern=r"^([a-z][a-z0-9_]*|__(idle|unattributed|no_segment|overhead)__)$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Match(_Strict):
    """Which charges a pool takes: every condition given must hold.

    Values are compared without regard to case, as shell patterns (``*``, ``?``, ``[…]``); one of the values
    of a condition is enough. A tag condition ``"*"`` asks for any value that is not empty.
    """

    source: Patterns = ()
    provider_name: Patterns = ()
    service_name: Patterns = ()
    service_category: Patterns = ()
    charge_category: Annotated[tuple[ChargeCategory, ...], BeforeValidator(_as_list)] = ()
    charge_class: Patterns = ()
    tags: dict[TagKey, Patterns] = {}

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError("a match without a condition takes every charge; that is what default_pool is for")
        return self


class Idle(_Strict):
    """What of a pool was provisioned and not used.

    Attributes:
        ratio: Unused share of the pool, for example ``0.25``.
        capacity: Driver quantity a day that is paid for; what drivers leave of it is idle.
    """

    ratio: Share | None = None
    capacity: Annotated[int, Field(gt=0, le=10**12)] | None = None

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        if (self.ratio is None) == (self.capacity is None):
            raise ValueError("idle says either ratio or capacity")
        return self


class Pool(_Strict):
    """Charges that share one method of allocation.

    Attributes:
        pool: Its key; it may return with another validity period.
        method: ``direct`` (to a segment or by a tag), ``proportional`` (by a driver), ``even`` (over the
            segments active on the charge's day) or ``fixed`` (by weights).
        tag_values: What tag values mean that are not the key of a segment; letters' case does not count.
        unused_commitment: Where a charge for unused commitment goes: to idle, or shared out like the rest.
        valid_from: First day of charges it takes.
        valid_to: First day it takes no more.
        rule_version: Version of this rule; the file's where left out.
    """

    pool: Key
    description: Annotated[str, Field(min_length=1)]
    owner: Annotated[str, Field(min_length=1)]
    match: Match
    method: Method
    segment: Target | None = None
    tag_key: TagKey | None = None
    tag_values: dict[str, Target] | None = None
    driver: DriverKey | None = None
    weights: dict[Target, Share] | None = None
    idle: Idle | None = None
    unused_commitment: Literal["idle", "allocate"] = "idle"
    valid_from: date | None = None
    valid_to: date | None = None
    rule_version: str | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        takes: dict[str, tuple[str, ...]] = {
            "direct": ("segment", "tag_key", "tag_values"),
            "proportional": ("driver", "idle"),
            "even": (),
            "fixed": ("weights",),
        }
        for name in ("segment", "tag_key", "tag_values", "driver", "weights", "idle"):
            if getattr(self, name) is not None and name not in takes[self.method]:
                raise ValueError(f"method {self.method} takes no {name}")
        if self.method == "direct" and (self.segment is None) == (self.tag_key is None):
            raise ValueError("method direct needs either segment or tag_key")
        if self.tag_values is not None and self.tag_key is None:
            raise ValueError("tag_values needs a tag_key")
        if self.method == "proportional" and self.driver is None:
            raise ValueError("method proportional needs a driver")
        if self.method == "fixed":
            total = sum((self.weights or {}).values(), Decimal(0))
            if total != 1:
                raise ValueError(f"the weights sum to {total}, not to exactly 1")
        if self.valid_from and self.valid_to and self.valid_from >= self.valid_to:
            raise ValueError("valid_from must be before valid_to")
        return self

    def overlaps(self, other: "Pool") -> bool:
        """Say whether both are valid on some day."""
        starts = max(self.valid_from or date.min, other.valid_from or date.min)
        ends = min(self.valid_to or date.max, other.valid_to or date.max)
        return starts < ends


class DefaultPool(_Strict):
    """Where a charge goes that no pool takes: to ``__unattributed__``, under this key."""

    pool: Key
    description: Annotated[str, Field(min_length=1)]
    owner: Annotated[str, Field(min_length=1)]


class Coverage(_Strict):
    """Limits for the share of spend that reaches a row other than ``__unattributed__``."""

    warn_below: Share = Decimal("0.95")
    fail_below: Share = Decimal("0.80")


class CostPools(_Strict):
    """The whole of ``catalog/cost_pools.yml``; the first pool that matches takes the charge.

    Attributes:
        reporting_currency: ISO 4217 code; charges in another currency stop the run.
        views: ``exclusive`` is always there; ``full`` and ``fractional`` are not additive.
    """

    rule_version: Annotated[str, BeforeValidator(str), Field(min_length=1)]
    reporting_currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    views: tuple[View, ...] = ("exclusive", "full")
    coverage: Coverage = Coverage()
    pools: tuple[Pool, ...] = ()
    default_pool: DefaultPool
    _document: Document | None = PrivateAttr(default=None)

    def remember(self, document: Document) -> None:
        """Remember the file these pools were read from, so that later errors can point into it."""
        self._document = document

    def where(self, place: Location) -> str:
        """Return ``file:line`` of a value, or nothing where the pools did not come from a file."""
        return self._document.where(place) if self._document else ""

    @property
    def drivers(self) -> tuple[str, ...]:
        """Drivers that some pool needs, in alphabetical order."""
        return tuple(sorted({pool.driver for pool in self.pools if pool.driver}))

    @property
    def named_segments(self) -> dict[str, Location]:
        """Segments that the file names, each with its place in the file."""
        named: dict[str, Location] = {}
        for position, pool in enumerate(self.pools):
            if pool.segment is not None:
                named.setdefault(pool.segment, ("pools", position, "segment"))
            for segment in pool.weights or {}:
                named.setdefault(segment, ("pools", position, "weights", segment))
            for value, segment in (pool.tag_values or {}).items():
                named.setdefault(segment, ("pools", position, "tag_values", value))
        return {segment: place for segment, place in named.items() if segment not in SPECIAL_ROWS}


def load_pools(path: Path) -> CostPools:
    """Read and check ``catalog/cost_pools.yml``.

    Raises:
        CatalogProblems: The file can't be meant; names file, line and repair of each mistake.
    """
    document = read_document(path)
    pools = document.parse(CostPools, expected="a cost pool as the shipped catalog/cost_pools.yml shows it")
    refuse(_check_list(pools, document))
    pools.remember(document)
    return pools


def check_segments(pools: CostPools, known: set[str]) -> None:
    """Check that every segment which the file names exists.

    Raises:
        CatalogProblems: With every segment that a pool names and the segment catalog does not have.
    """
    problems = []
    for segment, place in pools.named_segments.items():
        if segment not in known:
            file, _, line = pools.where(place).rpartition(":")
            problems.append(
                CatalogProblem(
                    file,
                    int(line) if line.isdigit() else 1,
                    f"no segment is called {segment!r}{did_you_mean(segment, known)}",
                    expected=f"one of {', '.join([*sorted(known), *SPECIAL_ROWS])}",
                    repair="correct the key, or add the segment to catalog/segments",
                )
            )
    refuse(problems)


def _check_list(pools: CostPools, document: Document) -> Iterator[CatalogProblem]:
    if "exclusive" not in pools.views or len(set(pools.views)) != len(pools.views):
        yield document.problem(
            "the views must hold exclusive, and each view once",
            ("views",),
            expected="[exclusive, full]",
            repair="correct the list of views",
        )
    for position, pool in enumerate(pools.pools):
        twins = [other for other in pools.pools[:position] if other.pool == pool.pool and other.overlaps(pool)]
        if twins or pool.pool == pools.default_pool.pool:
            yield document.problem(
                f"the pool {pool.pool!r} is there twice for the same days",
                ("pools", position, "pool"),
                expected="one pool of a key on any day",
                repair="rename one, or give them valid_from and valid_to that do not overlap",
            )
