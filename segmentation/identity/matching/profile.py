"""What the columns of an unknown table are: kinds of attributes, by name and by what they hold.

Belongs here: recognising columns of any table of people. Does not belong here: what is made of a kind (`kinds.py`), or
the records of the warehouse, whose kinds people name.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from segmentation.identity.matching.kinds import clean, read_date
from segmentation.warehouse import Connection, quote

#: Kinds by what columns are called; the first that fits wins. Full names and parts of dates are made into other kinds.
_CALLED: tuple[tuple[str, str], ...] = (
    ("email", r".*e_?mail.*"),
    ("middle_name", r"(middle|second)_?name.*|[fl]name_c2|middle|zweitname"),
    ("given_name", r"(given|first|fore|f|christian)_?name.*|vorname|pr[eé]nom|nombre|forename|fname_c1|givenname"),
    ("surname", r"(sur|last|family|l)_?name.*|nachname|nom|nom_de_famille|apellidos?|lname_c1|familienname|surname"),
    (
        "full_name",
        r"(.*_)?(full|complete|whole|person|customer|display|client|patient)_?names?|name|names|first_and_(sur|last)_?name",
    ),
    ("birth_date", r".*(dob|birth_?da(te|y)|date_?of_?birth|geburts(datum|tag)|date_naissance|fecha_nac.*).*|born"),
    ("birth_year", r"by|(birth_?year|year_?of_?birth|yob)"),
    ("birth_month", r"bm|(birth_?month|month_?of_?birth|mob)"),
    ("birth_day", r"bd|(birth_?day|day_?of_?birth)"),
    ("phone", r".*(phone|mobile|telefon|telephone|handy|fax|cell|msisdn).*|tel(_?no)?"),
    ("postcode", r".*(post_?(al)?_?code|zip|plz|postleitzahl|codigo_postal).*"),
    ("house_number", r".*(street_?n(o|um|r)|house_?n(o|um|r)|hausn|building_?n).*"),
    ("code", r".*(ssn|soc_?sec|social_?sec|passport|national|tax_?|nhs_?n|nino|licen[cs]e|vat_?|insurance).*"),
    ("company", r".*(company|firm|organi[sz]ation|employer|business).*"),
    ("street", r".*(street|address|addr|stra(ss|ß)e|road|rue|calle).*"),
    ("city", r".*(city|town|suburb|locality|village|municip|birth_?place|place|stadt).*|ort|ville|ciudad"),
    ("category", r".*(gender|sex|state|region|province|county|country|land|occupation|title|job|marital|race).*"),
)

_IDENTIFIER = re.compile(r"(.*_)?(id|ids|key|uid|uuid|guid|rowid|index|row|nr)")

#: Share of records that must have a value, and of values that must be distinct in a column of ids.
_FILLED, _DISTINCT = 0.02, 0.93
#: Share of values that must look like a date, an address or a number for the column to be one.
_LOOKS = 0.8
_FEW_VALUES, _FEW_SHARE = 60, 0.02
_WORDS_OF_A_TEXT = 4.0
#: Share of records in which one column's words are all in other columns, for it to repeat them.
_REPEATS = 0.85


@dataclass(frozen=True, slots=True)
class Profile:
    """How to read a table.

    Attributes:
        kinds: Kind of each attribute, by name.
        reads: SQL over the table that gives each attribute's raw value, by name.
    """

    kinds: dict[str, str]
    reads: dict[str, str]

    def select(self, table: str, record_id: str) -> str:
        """Return the query of records as `training.learn` takes them."""
        attributes = "".join(f", {sql} as {quote(name)}" for name, sql in self.reads.items())
        return f"select {record_id} as record_id{attributes} from {table}"


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    kind: str


def recognise(con: Connection, table: str, *, leave_out: Iterable[str] = ()) -> Profile:
    """Return what the columns of ``table`` are; those that tell nothing (ids, constants) are left out.

    Args:
        con: Any connection.
        table: A relation.
        leave_out: Columns that must not be read, such as the truth.
    """
    names = [row[0] for row in con.execute(f"describe {table}").fetchall() if row[0] not in set(leave_out)]
    columns = [_Column(name, kind) for name in names if (kind := _kind_of(con, table, name)) is not None]
    columns = _without_repetitions(con, table, columns)
    profile = Profile({}, {})
    for name, kind, sql in _attributes(con, columns):
        profile.kinds[name], profile.reads[name] = kind, sql
    return profile


def _kind_of(con: Connection, table: str, name: str) -> str | None:
    raw = quote(name)
    text = clean(raw)
    date = f"({read_date(raw)} between date '1850-01-01' and date '2100-01-01')::integer"
    figures = con.execute(
        f"select count(*), count({text}), approx_count_distinct({text}), "
        f"avg(length({text}) - length(replace({text}, ' ', ''))) + 1, avg({date}) filter ({text} is not null), "
        f"avg((contains({raw}::varchar, '@'))::integer) filter ({text} is not null), "
        f"avg((regexp_full_match(trim({raw}::varchar), '[-+]?[0-9][0-9.,]*'))::integer) filter ({text} is not null) "
        f"from {table}"
    ).fetchall()[0]
    rows, filled, distinct, words, dates, addresses, numbers = (one or 0 for one in figures)
    if not filled or filled < _FILLED * rows or distinct <= 1:
        return None
    called = name.strip().lower().replace(" ", "_").replace("-", "_")
    by_name = next((kind for kind, pattern in _CALLED if re.fullmatch(pattern, called)), None)
    if by_name is None and _IDENTIFIER.fullmatch(called) and distinct >= _DISTINCT * filled:
        return None
    if by_name == "category" and distinct > max(_FEW_VALUES, _FEW_SHARE * filled) and words >= _WORDS_OF_A_TEXT:
        return "text"
    return by_name or _looks_like(float(words), float(dates), float(addresses), float(numbers), distinct, filled)


def _looks_like(words: float, dates: float, addresses: float, numbers: float, distinct: int, filled: int) -> str:
    if addresses >= _LOOKS:
        return "email"
    if dates >= _LOOKS:
        return "birth_date"
    if distinct <= max(_FEW_VALUES, _FEW_SHARE * filled):
        return "category"
    if numbers >= _LOOKS:
        return "number"
    return "text" if words >= _WORDS_OF_A_TEXT else "string"


def _without_repetitions(con: Connection, table: str, columns: list[_Column]) -> list[_Column]:
    """Leave out full names where there are their parts, and columns whose words are all in another of their kind."""
    parts = [quote(one.name) for kind in ("given_name", "surname") for one in columns if one.kind == kind]
    has_parts = {"given_name", "surname"} <= {one.kind for one in columns}
    if has_parts:
        columns = [one for one in columns if one.kind != "full_name"]
    whole = f"concat_ws(' ', {', '.join(parts)})"
    kept: list[_Column] = []
    for one in columns:
        is_name = has_parts and one.kind in {"string", "text"} and _repeats(con, table, one.name, whole)
        if not is_name and not any(
            other.kind == one.kind and _repeats(con, table, one.name, quote(other.name)) for other in kept
        ):
            kept.append(one)
    return kept


def _repeats(con: Connection, table: str, name: str, other: str) -> bool:
    one, two = clean(quote(name)), clean(other)
    within = f"list_has_all(string_split({two}, ' '), string_split({one}, ' '))"
    share = con.execute(
        f"select avg(({within})::integer) from (from {table} limit 20000) where {one} is not null and {two} is not null"
    ).fetchall()[0][0]
    return bool(share is not None and share >= _REPEATS)


def _attributes(con: Connection, columns: list[_Column]) -> Iterator[tuple[str, str, str]]:
    parts = {one.kind: quote(one.name) for one in columns if one.kind in {"birth_year", "birth_month", "birth_day"}}
    taken: set[str] = set()
    words = "select keyword_name from duckdb_keywords() where keyword_category = 'reserved'"
    reserved = {row[0] for row in con.execute(words).fetchall()}
    if "birth_year" in parts:
        year, month, day = (parts.get(f"birth_{unit}", "1") for unit in ("year", "month", "day"))
        yield "birth", "birth_date", f"printf('%04d-%02d-%02d', {_whole(year)}, {_whole(month)}, {_whole(day)})"
        taken.add("birth")
    for one in columns:
        if one.kind in {"birth_year", "birth_month", "birth_day"}:
            continue
        name = _attribute_name(one.name, taken | reserved)
        taken.add(name)
        raw = quote(one.name)
        if one.kind == "full_name":
            words = f"string_split({clean(raw)}, ' ')"
            yield f"{name}given", "given_name", f"{words}[1]"
            yield f"{name}family", "surname", f"case when len({words}) > 1 then {words}[-1] end"
        elif one.kind == "middle_name":
            yield name, "string", raw
        else:
            yield name, one.kind, raw


def _whole(column: str) -> str:
    return f"try_cast({column} as integer)"


def _attribute_name(column: str, taken: set[str]) -> str:
    plain = re.sub(r"[^a-z0-9]", "", column.lower()) or "column"
    plain = plain if plain[0].isalpha() else f"c{plain}"
    name, number = plain, 1
    while name in taken:
        number += 1
        name = f"{plain}{number}"
    return name
