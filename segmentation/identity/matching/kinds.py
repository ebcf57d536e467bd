"""Kinds of attributes: how a value is cleaned, in which steps two values agree, and what may find a pair.

Belongs here: one `Feature` per kind, as SQL. Does not belong here: which attributes there are (`catalog.py`,
`profile.py`), or how much each step weighs (`estimation.py`). Steps are tried in order, the strongest first; where
either value is missing, the attribute says nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from segmentation.warehouse import quote

#: Forms of dates that are read, the unambiguous ones first.
DATE_FORMATS = ("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y-%m-%d %H:%M:%S")

#: What people write for nothing.
_NOTHING = "'null', 'none', 'nan', 'na', 'n a', 'unknown', 'nil', 'undefined', 'tbd', 'xxx', 'n/a', 'n.a.', '#n/a'"

_DATE_KEY_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Level:
    """One step of agreement.

    Attributes:
        label: What people read.
        condition: SQL over columns with ``_l`` and ``_r``; ``ELSE`` for the last step.
        frequency: Column whose value's frequency weighs the step: a rare name that agrees says more.
    """

    label: str
    condition: str
    frequency: str | None = None


@dataclass(frozen=True, slots=True)
class Feature:
    """What is made of one attribute.

    Attributes:
        attribute: Its name; the comparison is called after it.
        columns: SQL of each cleaned column, by name, over the raw attributes. The first says whether there is a value.
        levels: Steps of agreement, the strongest first.
        keys: SQL over cleaned columns that may find a pair together with another attribute's key.
        lone_keys: SQL that finds a pair alone.
        rooted: Cleaned column with a given name, and the column to hold its full form.
        silent: SQL over ``_l`` and ``_r`` where the attribute says nothing new: another one has said it already.
    """

    attribute: str
    columns: Mapping[str, str]
    levels: tuple[Level, ...]
    keys: tuple[str, ...] = ()
    lone_keys: tuple[str, ...] = ()
    rooted: Mapping[str, str] = field(default_factory=dict)
    silent: str = ""

    @property
    def present(self) -> str:
        """Column that is null where the attribute says nothing."""
        return next(iter(self.columns))

    @property
    def frequencies(self) -> tuple[str, ...]:
        """Columns whose values' frequencies count."""
        return tuple(dict.fromkeys(level.frequency for level in self.levels if level.frequency))


def clean(raw: str) -> str:
    """Return the SQL of a text without case, accents and punctuation; null where it says nothing."""
    words = f"trim(regexp_replace(strip_accents(lower({raw}::varchar)), '[^\\p{{L}}\\p{{N}}]+', ' ', 'g'))"
    return f"(case when lower(trim({raw}::varchar)) in ({_NOTHING}) then null else nullif({words}, '') end)"


def skeleton(column: str) -> str:
    """Return the SQL of a word's first letter and its other consonants: what most misspellings leave."""
    return f"left({column}, 1) || regexp_replace(substr({column}, 2), '[aeiouhwy ]', '', 'g')"


def read_date(raw: str) -> str:
    """Return the SQL of a date out of a text."""
    formats = ", ".join(f"'{one}'" for one in DATE_FORMATS)
    return f"try_strptime(trim({raw}::varchar), [{formats}])::date"


def _equal(label: str, column: str, frequency: str | None = None) -> Level:
    return Level(label, f"{column}_l = {column}_r", frequency)


def _near(label: str, column: str, likeness: float) -> Level:
    return Level(label, f"jaro_winkler_similarity({column}_l, {column}_r) >= {likeness}")


def _edits(label: str, column: str, edits: int) -> Level:
    # Swapped letters are two edits here: counting them as one (Damerau) costs ten times as much.
    return Level(label, f"levenshtein({column}_l, {column}_r) <= {edits}")


_ELSE = Level("different", "ELSE")


def given_name(name: str, partner: str | None = None) -> Feature:
    """Compare given names; ``partner`` is the attribute with the surname, for names that changed places."""
    raw, root, other = quote(name), f"{name}_root", f"{name}_other"
    columns = {name: clean(raw)}
    swapped: tuple[Level, ...] = ()
    if partner:
        columns[other] = clean(quote(partner))
        swapped = (Level("in the other's place", f"{name}_l = {other}_r and {other}_l = {name}_r"),)
    typed = f"levenshtein({name}_l, {name}_r) <= 1 and length({name}_l) > 3"
    levels = (
        _equal("same", name, name),
        _equal("short form", root),
        *swapped,
        Level("a letter apart", f"jaro_winkler_similarity({name}_l, {name}_r) >= 0.92 or ({typed})"),
        _near("alike", name, 0.85),
        Level("begins alike", f"starts_with({name}_l, {name}_r) or starts_with({name}_r, {name}_l)"),
        _ELSE,
    )
    return Feature(name, columns, levels, keys=(root,), rooted={name: root})


def surname(name: str, partner: str | None = None) -> Feature:
    """Compare surnames; ``partner`` is the attribute with the given name."""
    other = f"{name}_other"
    columns = {name: clean(quote(name))}
    swapped: tuple[Level, ...] = ()
    if partner:
        columns[other] = clean(quote(partner))
        swapped = (Level("in the other's place", f"{other}_l = {name}_r and {name}_l = {other}_r"),)
    typed = f"levenshtein({name}_l, {name}_r) <= 1 and length({name}_l) > 3"
    levels = (
        _equal("same", name, name),
        *swapped,
        Level("a letter apart", f"jaro_winkler_similarity({name}_l, {name}_r) >= 0.93 or ({typed})"),
        _near("alike", name, 0.86),
        _ELSE,
    )
    return Feature(name, columns, levels, keys=(name,))


def birth_date(name: str) -> Feature:
    """Compare dates as digits, so that a mistyped one, or day and month that changed places, stay near."""
    date = read_date(quote(name))
    text, day, turned, year, month_day = name, f"{name}_date", f"{name}_turned", f"{name}_year", f"{name}_day"
    in_range = f"case when year({date}) between 1000 and 2999 then {date} end"
    columns = {
        # Always eight digits: hamming distance is of texts of one length.
        text: f"strftime({in_range}, '%Y%m%d')",
        day: in_range,
        turned: f"strftime({in_range}, '%Y%d%m')",
        year: f"year({in_range})",
        month_day: f"strftime({in_range}, '%m%d')",
    }
    apart = f"hamming({text}_l, {text}_r)"
    same_year, same_day = f"{year}_l = {year}_r", f"{month_day}_l = {month_day}_r"
    levels = (
        _equal("same", text, text),
        Level("a digit apart", f"{apart} <= 1"),
        Level("two digits apart", f"{text}_l = {turned}_r or ({apart} <= 2 and ({same_year} or {same_day}))"),
        Level("same year or same day", f"{same_year} or ({same_day} and abs({year}_l - {year}_r) <= 10)"),
        Level("within ten years", f"abs({day}_l - {day}_r) <= 3660"),
        _ELSE,
    )
    return Feature(name, columns, levels, keys=(text,))


def email(name: str) -> Feature:
    """Compare addresses, and the part before the ``@``, which people take along to another provider."""
    address = f"nullif(lower(trim({quote(name)}::varchar)), '')"
    user = f"{name}_user"
    typed = f"jaro_winkler_similarity({name}_l, {name}_r) >= 0.9 or levenshtein({name}_l, {name}_r) <= 2"
    levels = (
        _equal("same", name),
        _equal("same name part", user),
        Level("a letter or two apart", typed),
        _near("name part alike", user, 0.88),
        _ELSE,
    )
    columns = {name: address, user: f"split_part({address}, '@', 1)"}
    return Feature(name, columns, levels, lone_keys=(name, user))


def phone(name: str) -> Feature:
    """Compare the last digits of numbers: what remains without country and trunk prefix."""
    digits = f"right(regexp_replace({quote(name)}::varchar, '[^0-9]', '', 'g'), {_DATE_KEY_DIGITS})"
    return _numbered(name, f"nullif({digits}, '')")


def code(name: str) -> Feature:
    """Compare numbers that an office gave: tax, insurance, passport."""
    return _numbered(name, f"nullif(regexp_replace(upper({quote(name)}::varchar), '[^\\p{{L}}\\p{{N}}]', '', 'g'), '')")


def _numbered(name: str, cleaned: str) -> Feature:
    levels = (_equal("same", name), _edits("a digit apart", name, 1), _edits("two digits apart", name, 2), _ELSE)
    return Feature(name, {name: cleaned}, levels, lone_keys=(name,))


def postcode(name: str) -> Feature:
    """Compare postal codes, and their area: all but the last two or, as in Britain, three characters."""
    whole = f"nullif(regexp_replace(lower({quote(name)}::varchar), '[^\\p{{L}}\\p{{N}}]', '', 'g'), '')"
    area = f"{name}_area"
    cut = f"case when regexp_matches({whole}, '^[a-z]{{1,2}}[0-9]') then 3 else 2 end"
    columns = {name: whole, area: f"left({whole}, greatest(length({whole}) - {cut}, 2))"}
    levels = (_equal("same", name, name), _edits("a character apart", name, 1), _equal("same area", area, area), _ELSE)
    return Feature(name, columns, levels, keys=(name,))


def house_number(name: str) -> Feature:
    """Compare numbers of houses; too common to find a pair by."""
    typed = Level("a digit apart", f"levenshtein({name}_l, {name}_r) <= 1 and length({name}_l) > 1")
    return Feature(name, {name: clean(quote(name))}, (_equal("same", name, name), typed, _ELSE))


def place(name: str) -> Feature:
    """Compare names of places, streets and companies."""
    levels = (_equal("same", name, name), _near("a letter apart", name, 0.92), _near("alike", name, 0.84), _ELSE)
    return Feature(name, {name: clean(quote(name))}, levels, keys=(name,))


def category(name: str) -> Feature:
    """Compare values out of few; they find no pair."""
    return Feature(name, {name: clean(quote(name))}, (_equal("same", name, name), _near("alike", name, 0.85), _ELSE))


def string(name: str) -> Feature:
    """Compare short texts of no known kind."""
    levels = (_equal("same", name, name), _near("a letter apart", name, 0.92), _near("alike", name, 0.84), _ELSE)
    return Feature(name, {name: clean(quote(name))}, levels, keys=(name,))


def text(name: str) -> Feature:
    """Compare longer texts by their words."""
    words, key = f"{name}_words", f"{name}_key"
    listed = f"list_distinct(string_split({clean(quote(name))}, ' '))"
    common = f"len(list_intersect({words}_l, {words}_r))"
    least = f"least(len({words}_l), len({words}_r))"
    most = f"greatest(len({words}_l), len({words}_r))"
    levels = (
        _equal("same", name, name),
        Level("most words", f"{common} >= 0.8 * {most}"),
        Level("one within the other", f"{common} >= 0.8 * {least} and {least} > 1"),
        Level("half the words", f"{common} >= 0.5 * {least}"),
        Level("a quarter of the words", f"{common} >= 0.25 * {least}"),
        _ELSE,
    )
    longest = f"list_sort(list_transform({listed}, lambda w: printf('%03d', 999 - length(w)::integer) || w))[1:2]"
    columns = {name: clean(quote(name)), words: listed, key: f"array_to_string({longest}, ' ')"}
    return Feature(name, columns, levels, keys=(name, key))


def number(name: str) -> Feature:
    """Compare amounts."""
    value = f"try_cast(regexp_replace({quote(name)}::varchar, '[^0-9.eE-]', '', 'g') as double)"
    apart = f"abs({name}_l - {name}_r) / greatest(abs({name}_l), abs({name}_r), 1e-9)"
    levels = (
        _equal("same", name),
        Level("within 1 %", f"{apart} <= 0.01"),
        Level("within 10 %", f"{apart} <= 0.1"),
        _ELSE,
    )
    return Feature(name, {name: value}, levels)


#: Kinds that take one attribute and need no partner.
_SINGLE: dict[str, Callable[[str], Feature]] = {
    "birth_date": birth_date,
    "email": email,
    "phone": phone,
    "code": code,
    "postcode": postcode,
    "house_number": house_number,
    "street": place,
    "city": place,
    "company": place,
    "category": category,
    "string": string,
    "text": text,
    "number": number,
}

#: Every kind that an attribute can be of.
KINDS: tuple[str, ...] = ("given_name", "surname", *_SINGLE)


def features_of(attributes: Mapping[str, str]) -> tuple[Feature, ...]:
    """Return the features of attributes, whose kinds are given by name, in their order."""
    given = [name for name, kind in attributes.items() if kind == "given_name"]
    family = [name for name, kind in attributes.items() if kind == "surname"]
    partners = {given[0]: family[0], family[0]: given[0]} if given and family else {}
    postcodes = [name for name, kind in attributes.items() if kind == "postcode"]
    made: list[Feature] = []
    for name, kind in attributes.items():
        if kind == "given_name":
            made.append(given_name(name, partners.get(name)))
        elif kind == "surname":
            made.append(surname(name, partners.get(name)))
        elif kind == "city" and postcodes:
            # A postal code implies its town. Counted twice, living in one street looks like being one person.
            made.append(replace(place(name), silent=f"coalesce({postcodes[0]}_l = {postcodes[0]}_r, false)"))
        else:
            made.append(_SINGLE[kind](name))
    return tuple(made)
