"""The bounds of the made-up company: how many people, which days, which seed, and where it is drawn.

Belongs here: sizes, dates and the engine that the feeds share. Does not belong here: who the people are
(`people.py`) or what they do (`shop.py`, `usage.py`, `support.py`, `billing.py`, `cloud_bill.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path

import duckdb

from segmentation.errors import StrataError
from segmentation.sample.randomness import install_macros
from segmentation.warehouse import Connection, literal

#: Largest company: keys of draws (eight devices a person, eight cookies a device) must fit into 32 bits.
MAX_CUSTOMERS = 20_000_000
MAX_DAYS = 3_650

#: How long churners have not been seen, unless that is more than half of the period.
_QUIET_DAYS = 45

#: Bounds of the engine, so that a company of any size is made in the same memory.
_MEMORY_LIMIT = "2GB"


@dataclass(frozen=True, slots=True)
class World:
    """One company, before it is drawn.

    Attributes:
        con: The engine, with its macros; holds the tables that feeds share.
        customers: People the company knows.
        days: Length of the period; the last day ends at ``end``.
        seed: Number that all draws follow from.
        end: First day after the period; the sample's ``as_of`` is its midnight, UTC.
        events_per_customer: Events and requests together, divided by the customers.
    """

    con: Connection
    customers: int
    days: int
    seed: int
    end: date
    events_per_customer: float

    @property
    def start(self) -> date:
        """First day of the period."""
        return self.end - timedelta(days=self.days)

    @property
    def as_of(self) -> datetime:
        """The moment at which the sample's story ends, naive UTC."""
        return datetime.combine(self.end, time())

    @property
    def visitors(self) -> int:
        """People who browse and never sign up; most leave nothing but a cookie."""
        return max(4, self.customers // 4)

    @property
    def kiosks(self) -> int:
        """Tablets in the company's stores, used by whoever stands before them."""
        return max(2, min(self.customers // 4000, 500))

    @property
    def events(self) -> int:
        """Web and app events to draw."""
        return round(self.customers * self.events_per_customer * 0.6)

    @property
    def requests(self) -> int:
        """API requests to draw."""
        return round(self.customers * self.events_per_customer * 0.4)

    @property
    def quiet_day(self) -> int:
        """Day of the period (0 is the first) from which churners are not seen any more."""
        return max(1, self.days // 2, self.days - _QUIET_DAYS)

    @property
    def middle(self) -> date:
        """Day of the first full exports; later rows and changes come as a second delivery."""
        return self.start + timedelta(days=self.days // 2)

    def moment(self, day: int, hour: int = 0) -> datetime:
        """Return a moment of the period's ``day``, counted from 0, kept within the period."""
        kept = min(max(day, 0), self.days - 1)
        return datetime.combine(self.start + timedelta(days=kept), time(hour))

    def every(self, rows: int, wanted: int) -> int:
        """Return n so that every n-th of ``rows`` gives about ``wanted`` rows, at least one."""
        return max(1, rows // wanted)

    def plant(self, kind: str, entity: str, rows: int) -> None:
        """Note for the truth that ``rows`` rows of an entity carry a kind of dirt."""
        self.con.execute("insert into planted values (?, ?, ?)", [kind, entity, rows])

    def run(self, sql: str) -> None:
        """Execute a statement."""
        self.con.execute(sql)

    def number(self, sql: str) -> int:
        """Return the single integer that a query gives."""
        return int(self.con.execute(sql).fetchall()[0][0])


@contextmanager
def open_world(
    scratch: Path, *, customers: int, days: int, seed: int, end: date, events_per_customer: float
) -> Iterator[World]:
    """Open the engine over a scratch folder, which must exist and is not removed.

    Raises:
        StrataError: A size is out of bounds.
    """
    for name, value, least, most in (
        ("customers", customers, 1, MAX_CUSTOMERS),
        ("days", days, 1, MAX_DAYS),
        ("events_per_customer", events_per_customer, 0, 1_000),
    ):
        if not least <= value <= most:
            raise StrataError(
                f"a sample company can't have {name} = {value:,}",
                where=f"argument {name}",
                expected=f"{least:,} to {most:,}",
                repair=f"strata sample --{name.replace('_', '-')} {min(max(value, least), most)}",
            )
    con = duckdb.connect(str(scratch / "company.duckdb"))
    try:
        con.execute(f"set memory_limit = {literal(_MEMORY_LIMIT)}")
        con.execute(f"set temp_directory = {literal(str(scratch / 'spill'))}")
        con.execute("set timezone = 'UTC'")
        con.execute("set enable_progress_bar = false")
        install_macros(con, seed)
        con.execute("create table planted (kind varchar, entity varchar, row_count bigint)")
        yield World(con, customers, days, seed, end, events_per_customer)
    finally:
        con.close()
