"""A made-up register of people with errors, for measuring how records are matched.

Belongs here: the register and its truth, from a seed. Does not belong here: measuring (`matching.py`). Names are
built from syllables and drawn by Zipf's law, so that some are common and most are rare, as names are.
"""

import duckdb
import numpy as np
from numpy.typing import NDArray

Connection = duckdb.DuckDBPyConnection

_ONSETS = ("b", "br", "c", "ch", "d", "f", "g", "gr", "h", "j", "k", "l", "m", "n", "p", "r", "s", "st", "t", "v", "w")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "oo")
_CODAS = ("", "n", "r", "s", "l", "th", "ck", "nd", "m", "tt")

#: Share of records whose attribute is missing, and whose attribute is mistyped.
_MISSING, _MISTYPED = 0.05, 0.08


def build_names(rng: np.random.Generator, count: int, syllables: int) -> NDArray[np.str_]:
    """Return distinct pronounceable names."""
    names: set[str] = set()
    while len(names) < count:
        parts = [
            f"{rng.choice(_ONSETS)}{rng.choice(_VOWELS)}{rng.choice(_CODAS)}"
            for _ in range(int(rng.integers(1, syllables + 1)))
        ]
        if len(name := "".join(parts)) > 2:
            names.add(name)
    return np.array(sorted(names))


def _draw(rng: np.random.Generator, values: NDArray[np.str_], count: int, exponent: float) -> NDArray[np.str_]:
    shuffled = rng.permutation(values)
    weights = 1.0 / np.arange(1, len(values) + 1) ** exponent
    return shuffled[rng.choice(len(values), size=count, p=weights / weights.sum())]


def write_people(con: Connection, records: int, *, seed: int, table: str = "people") -> None:
    """Write ``table``: one row per record, with the person it is of in ``person``.

    Of each five records about four are of different persons. Errors: missing values, letters left out or
    swapped, days and months swapped, people who moved or changed their address, initials instead of names.
    """
    rng = np.random.default_rng(seed)
    persons = records * 4 // 5
    towns = build_names(rng, 800, 2)
    con.register(
        "drawn_persons",
        {
            "person": np.arange(persons),
            "first_name": _draw(rng, build_names(rng, 3_000, 2), persons, 0.9),
            "last_name": _draw(rng, build_names(rng, 30_000, 3), persons, 0.75),
            "birth_day": rng.integers(0, 26_000, persons),
            "town": rng.choice(len(towns), persons),
            "street": _draw(rng, build_names(rng, 8_000, 2), persons, 0.4),
            "house": rng.integers(1, 200, persons),
            "postal": rng.integers(0, 100, persons),
            "mail": rng.integers(0, 10_000, persons),
            "phone": rng.integers(10_000_000, 99_999_999, persons),
        },
    )
    con.register("drawn_towns", {"town": np.arange(len(towns)), "city": towns})
    repeated = rng.integers(0, persons, records - persons)
    con.register("drawn_records", {"person": np.concatenate([np.arange(persons), repeated]), "row": np.arange(records)})
    con.execute(f"select setseed({(seed % 1000) / 1000})")
    con.execute(
        f"create or replace table {table} as with clean as (select r.row, p.*, "
        "t.city, printf('%05d', 10000 + 100 * (p.town % 800) + p.postal) as postcode, "
        "p.first_name || '.' || p.last_name || p.mail || '@example.org' as address, "
        "date '1935-01-01' + p.birth_day::integer as born "
        "from drawn_records as r join drawn_persons as p using (person) join drawn_towns as t using (town)) "
        f"select row as record_id, {_spoilt('first_name', 1, initial=True)} as first_name, "
        f"{_spoilt('last_name', 2)} as last_name, {_spoilt_date()} as birth_date, "
        f"{_spoilt('city', 4)} as city, {_spoilt('postcode', 5)} as postal_code, "
        f"{_spoilt('street || chr(32) || house', 6)} as street_address, "
        f"case when {_chance(7)} > 0.6 then address when {_chance(8)} > 0.5 "
        "then last_name || mail || '@example.net' end as email, "
        f"case when {_chance(9)} > 0.5 then '+49' || phone end as phone, person::bigint as person from clean"
    )
    for name in ("drawn_persons", "drawn_towns", "drawn_records"):
        con.unregister(name)


def _chance(salt: int) -> str:
    """Return the SQL of a number in [0, 1) that depends on the record alone."""
    return f"((hash(row, {salt}) % 1000003) / 1000003.0)"


def _spoilt(column: str, salt: int, *, initial: bool = False) -> str:
    short = f"when {_chance(salt + 40)} < 0.02 then left({column}, 1) " if initial else ""
    place = f"(1 + hash(row, {salt + 20}) % greatest(length({column}) - 1, 1))::integer"
    return (
        f"case when {_chance(salt)} < {_MISSING} then null {short}"
        f"when {_chance(salt + 60)} < {_MISTYPED / 2} "
        f"then left({column}, {place} - 1) || substr({column}, {place} + 1) "
        f"when {_chance(salt + 80)} < {_MISTYPED / 2} then left({column}, {place} - 1) || "
        f"substr({column}, {place} + 1, 1) || substr({column}, {place}, 1) || substr({column}, {place} + 2) "
        f"else {column} end"
    )


def _spoilt_date() -> str:
    return (
        f"case when {_chance(3)} < {_MISSING} then null "
        f"when {_chance(63)} < 0.02 and day(born) <= 12 then make_date(year(born), day(born), month(born)) "
        f"when {_chance(83)} < 0.02 then born + 365 * 10 when {_chance(103)} < 0.02 then born + 1 "
        "else born end::varchar"
    )
