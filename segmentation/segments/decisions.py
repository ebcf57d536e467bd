"""Who is in which segment: all rules in one scan, then one winner per exclusive group.

Belongs here: the SQL that turns features, lists and consent into the candidate membership. Does not belong
here: what differs from what is published, and why (``changes.py``). Order of strength: consent and residency
keep a customer out whatever else holds; then a pin, which stands in place of rule and lists (``pins.py``); then
exclusion lists; then inclusion lists; then the rule. Of a canary and the version before it, that one decides which
holds for the customer.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from segmentation.run import Run
from segmentation.segments.accounts import decide_accounts, inherits_sql
from segmentation.segments.canaries import in_canary_sql
from segmentation.segments.candidate_views import PARTS, create_views, drop_views
from segmentation.segments.catalog import Catalog
from segmentation.segments.compiled import CatalogSegment
from segmentation.segments.masks import WORD_BITS, bits_of, word_count, words_sql
from segmentation.segments.pins import PinsInForce, resolve_pins
from segmentation.segments.rivalry import connect_groups, rivals_of, rounds_of
from segmentation.segments.rule_sql import to_sql
from segmentation.warehouse import Connection, literal, quote

FEATURES = "features.customer_features"

_PLACES = """
create table segments.candidate_places as
select
    cast(k.place as integer) as place,
    cast(k.place // {word_bits} as integer) as word,
    1::bigint << cast(k.place % {word_bits} as integer) as bit,
    k.segment_key,
    coalesce(n.segment_version, c.segment_version) as segment_version,
    n.group_key,
    n.precedence,
    -- Of a segment in several groups, its ranks in place of the two.
    n.definition ->> '$.groups' as ranks,
    case when n.definition ->> '$.groups' is null then coalesce(n.group_key, c.group_key) end as moving_group_key,
    coalesce(n.definition ->> '$.groups', case when n.group_key is null then c.definition ->> '$.groups' end)
        as moving_ranks,
    list_contains($defaults::varchar[], k.segment_key) as is_default,
    coalesce(n.definition ->> '$.entity' = 'account', false) as is_account,
    coalesce(n.is_expired, false) as is_expired,
    coalesce(n.is_decision_changed, true) as is_decision_changed,
    cast($publication_seq as bigint) as publication_seq,
    i.pin_id,
    list_contains($disturbed::varchar[], k.segment_key) as is_pin_changed,
    list_contains($released::varchar[], k.segment_key) as is_released,
    list_contains($sheltered::varchar[], k.segment_key) as is_sheltered
from (
    select unnest($keys::varchar[]) as segment_key, unnest(range(len($keys::varchar[]))) as place
) as k
left join segments.candidate_catalog as n on k.segment_key = n.segment_key
left join segments.catalog as c on k.segment_key = c.segment_key
left join (select * from segments.candidate_pins where is_live) as i on k.segment_key = i.segment_key
"""


def is_live(segment: CatalogSegment, run: Run) -> bool:
    """Say whether a segment can have members at the run's ``as_of``: active and not expired."""
    definition = segment.definition
    expired = definition.expires_on is not None and definition.expires_on <= run.as_of.date()
    return definition.is_evaluated and not expired


def decide(con: Connection, run: Run, catalog: Catalog, publication_seq: int) -> dict[str, int]:
    """Write the candidate tables of membership; call it within a transaction, which makes it one snapshot.

    Segments that ask about other segments wait for them: each level of dependencies is evaluated over the one
    before, all within one statement over one scan of the features.

    Args:
        con: The warehouse, with the candidate's catalog and lists.
        run: The run.
        catalog: What the catalog's files say.
        publication_seq: Number of the publication that the candidate would become.

    Returns:
        The place of every segment that has, or had, members.
    """
    live = {key: segment for key, segment in catalog.segments.items() if is_live(segment, run)}
    drop_views(con)
    pins = resolve_pins(con, catalog, live)
    decide_accounts(con, run, live.values())
    places = _write_places(con, catalog, live, publication_seq, pins)
    con.execute(f"create table segments.candidate_masks as {_Query(catalog, live, places, pins).masks()}")
    create_views(con, catalog, live, places)
    return places


def hard_conditions(segment: CatalogSegment) -> list[str]:
    """Return SQL over features that every member must meet: consent and residency. A null does not meet it."""
    conditions = [f"list_contains(consented_purposes, {literal(name)})" for name in segment.required_purposes]
    if segment.definition.residency:
        regions = ", ".join(literal(region) for region in sorted(set(segment.definition.residency)))
        conditions.append(f"residency_region in ({regions})")
    return conditions


def by_part(segment: CatalogSegment, sql_of: Callable[[CatalogSegment], str]) -> str:
    """Return SQL that asks each customer what the definition that holds for them asks; false where none does.

    Without a canary that is the segment's own, so that a catalog without canaries costs nothing.
    """
    (percent, drawn), *others = segment.parts
    told = "false" if drawn is None else sql_of(drawn)
    if not others:
        return told
    base = others[0][1]
    beside = "false" if base is None else sql_of(base)
    return f"case when {in_canary_sql(segment.key, percent)} then {told} else {beside} end"


def _write_places(
    con: Connection,
    catalog: Catalog,
    live: Mapping[str, CatalogSegment],
    publication_seq: int,
    pins: PinsInForce,
) -> dict[str, int]:
    """Number the segments that can have members, and those that still have published ones, by their keys."""
    published = [row[0] for row in con.execute("select distinct segment_key from segments.membership").fetchall()]
    places = {key: place for place, key in enumerate(sorted({*live, *published}))}
    con.execute(
        _PLACES.format(word_bits=WORD_BITS),
        {
            "keys": list(places),
            "defaults": list(catalog.defaults),
            "publication_seq": publication_seq,
            "disturbed": sorted(pins.disturbed),
            "released": sorted(pins.released),
            "sheltered": sorted(pins.sheltered),
        },
    )
    return places


class _Query:
    """Writes the one query that decides: features, two layers per level of dependencies, masks on top.

    A level's words hold the bits of its own segments alone. The names of the columns that are added can't be those of
    features, which have no ``#``. A rule stands only where ``case when`` asks for it: the engine then stops at the
    first part that fails, which is three times cheaper than a column of truths.
    """

    def __init__(
        self, catalog: Catalog, live: Mapping[str, CatalogSegment], places: Mapping[str, int], pins: PinsInForce
    ) -> None:
        self._catalog = catalog
        self._pins = pins
        self._live = live
        self._places = places
        self._words = range(word_count(len(places)))
        found = ([key for key in level if key in live] for level in catalog.levels)
        self._levels = [keys for keys in found if keys]
        self._level_of = {key: number for number, keys in enumerate(self._levels) for key in keys}
        self._ranks = {key: ranks for key, segment in live.items() if (ranks := segment.definition.ranks)}
        connected = connect_groups(self._ranks.values())
        #: Groups that share a segment with another one, so that neither is decided by itself.
        self._shared = {group for group, together in connected.items() if len(together) > 1}

    def masks(self) -> str:
        """Return the query: per customer the words of each part."""
        columns = ", ".join(
            (" | ".join(_column(part, level, word) for level in range(len(self._levels))) or "0::bigint")
            + f" as {part}_{word}"
            for part in PARTS
            for word in self._words
        )
        query = FEATURES
        for level, keys in enumerate(self._levels):
            query = f"(select *, {', '.join(self._claims(level, keys))} from {query})"
            won: dict[int, str] = {}
            for number, decided in enumerate(self._rounds(keys)):
                query = f"(select *, {', '.join(self._won(level, number, decided, won))} from {query})"
            query = f"(select *, {', '.join(self._members(level, keys, won))} from {query})"
        return f"select customer_id, {columns} from {query}"

    def _claims(self, level: int, keys: list[str]) -> Iterator[str]:
        """Yield what rules and lists of a level ask for, and what of it lists alone ask for."""
        claimed: dict[int, str] = {}
        included: dict[int, str] = {}
        for key in keys:
            segment, place = self._live[key], self._places[key]
            if key in self._pins.kinds:
                claimed[place] = by_part(segment, self._pinned)
                continue
            claimed[place] = by_part(segment, self._claim)
            if any(listing.side == "include" for _, part in segment.parts if part for listing in part.listings):
                included[place] = by_part(segment, self._include)
        yield from self._named("claimed", level, words_sql(claimed, len(self._words)))
        yield from self._named("included", level, words_sql(included, len(self._words)))

    def _pinned(self, part: CatalogSegment) -> str:
        """Return the condition that the segment's pin claims the customer, whom a definition lets in."""
        return " and ".join([_held(part.key, self._pins.kinds[part.key]), *hard_conditions(part)])

    def _claim(self, part: CatalogSegment) -> str:
        """Return the condition that a definition claims the customer."""
        rule = self._rule(part)
        if any(listing.side == "include" for listing in part.listings):
            rule = f"({rule} or customer_id in ({_listed(part.key, 'include')}))"
        return " and ".join([rule, *_barriers(part)])

    def _include(self, part: CatalogSegment) -> str:
        """Return the condition that its inclusion list alone claims the customer."""
        listed = f"customer_id in ({_listed(part.key, 'include')})"
        return " and ".join([f"({self._rule(part)}) is not true", listed, *_barriers(part)])

    def _rule(self, part: CatalogSegment) -> str:
        if part.account_condition is not None:
            return inherits_sql(part.key)
        return "false" if part.condition is None else to_sql(part.condition, self._is_member)

    def _members(self, level: int, keys: list[str], won: Mapping[int, str]) -> Iterator[str]:
        """Yield the members of a level: all claims outside of groups; within, pins', then the first by rank.

        Those of groups that share segments are in the columns ``won``, by word.
        """
        free = bits_of([self._places[key] for key in keys if key not in self._ranks], len(self._words))
        groups = sorted({group for key in keys for group in self._ranks.get(key, ())} - self._shared)
        yield from self._named(
            "member",
            level,
            [
                " | ".join(
                    [f"{_column('claimed', level, word)} & {free[word]}"]
                    + [self._winner(group, level, word) for group in groups]
                    + ([won[word]] if word in won else [])
                )
                for word in self._words
            ],
        )

    def _rounds(self, keys: list[str]) -> list[list[str]]:
        """Return the segments of a level that are in shared groups, in the order in which they are decided."""
        return rounds_of(
            {key: ranks for key in keys if (ranks := self._ranks.get(key, {})) and self._shared & ranks.keys()},
            self._pins.kinds,
        )

    def _won(self, level: int, number: int, decided: list[str], won: dict[int, str]) -> list[str]:
        """Return the columns of a round: members of shared groups up to it; ``won`` then names them by word."""
        terms: dict[int, list[str]] = {}
        for key in decided:
            if len(self._ranks[key]) > 1:
                place = self._places[key]
                barred = self._barred(self._ranks[key], [key], won)
                whens = [*barred, self._takes(key, level, place // WORD_BITS)]
                terms.setdefault(place // WORD_BITS, []).append(f"case {' '.join(whens)} else 0 end")
        for group in sorted({group for key in decided if len(self._ranks[key]) == 1 for group in self._ranks[key]}):
            own = [key for key in decided if list(self._ranks[key]) == [group]]
            barred = self._barred([group], own, won)
            for word in sorted({self._places[key] // WORD_BITS for key in own}):
                whens = [*barred, *(self._takes(key, level, word) for key in own)]
                terms.setdefault(word, []).append(f"case {' '.join(whens)} else 0 end")
        columns = []
        for word, cases in sorted(terms.items()):
            column = quote(f"won#{level}#{number}#{word}")
            columns.append(f"{' | '.join([*([won[word]] if word in won else []), *cases])} as {column}")
        # Only now: what a round decides does not count within it.
        for word in terms:
            won[word] = quote(f"won#{level}#{number}#{word}")
        return columns

    def _barred(self, groups: Iterable[str], own: list[str], won: Mapping[int, str]) -> list[str]:
        """Return what lets segments win in none of their groups: no member of a parent, a member that beats them."""
        whens, better = [], set[int]()
        for group in sorted(groups):
            parent = self._catalog.groups[group].definition.parent
            if parent is not None:
                whens.append(f"when not {self._is_in_group(parent)} then 0")
            rivals = self._rivals(group)
            better.update(self._places[key] for key in rivals[: min(rivals.index(key) for key in own)])
        bits = bits_of(sorted(better), len(self._words))
        taken = [f"{won[word]} & {bits[word]} <> 0" for word in self._words if bits[word] and word in won]
        if taken:
            whens.append(f"when {' or '.join(taken)} then 0")
        return whens

    def _takes(self, key: str, level: int, word: int) -> str:
        """Return the branch by which a segment takes whom it claims; in another word than its own that sets nothing."""
        place = self._places[key]
        bit = 1 << (place % WORD_BITS)
        claimed = _column("claimed", level, place // WORD_BITS)
        return f"when {claimed} & {bit} <> 0 then {bit if place // WORD_BITS == word else 0}::bigint"

    def _winner(self, group: str, level: int, word: int) -> str:
        """Return the bit that the first claim within a group sets in a word; none outside of the group's parent."""
        parent = self._catalog.groups[group].definition.parent
        whens = [] if parent is None else [f"when not {self._is_in_group(parent)} then 0"]
        whens += [self._takes(rival, level, word) for rival in self._rivals(group)]
        return f"case {' '.join(whens)} else 0 end"

    def _rivals(self, group: str) -> list[str]:
        return rivals_of(group, self._ranks, self._pins.kinds)

    def _is_member(self, key: str) -> str:
        return self._is_in_any([key]) if key in self._live else "false"

    def _is_in_group(self, group: str) -> str:
        return self._is_in_any(self._rivals(group))

    def _is_in_any(self, keys: list[str]) -> str:
        """Return the condition that the customer is a member of any of some segments of one level."""
        bits = bits_of([self._places[key] for key in keys], len(self._words))
        words = [
            f"{_column('member', self._level_of[keys[0]], word)} & {bits[word]} <> 0"
            for word in self._words
            if bits[word]
        ]
        return f"({' or '.join(words)})" if words else "false"

    def _named(self, part: str, level: int, expressions: list[str]) -> Iterator[str]:
        for word, expression in enumerate(expressions):
            yield f"{expression} as {_column(part, level, word)}"


def _column(part: str, level: int, word: int) -> str:
    return quote(f"{part}#{level}#{word}")


def _held(key: str, kind: str) -> str:
    """Return the condition that a pin holds the customer in a segment."""
    if kind == "kill":
        return "false"
    pinned = f"select d.customer_id from segments.candidate_pinned as d where d.segment_key = {literal(key)}"
    return f"customer_id in ({pinned})"


def _barriers(part: CatalogSegment) -> list[str]:
    """Return what keeps customers out whom rule or inclusion list claim."""
    conditions = hard_conditions(part)
    if any(listing.side == "exclude" for listing in part.listings):
        conditions.append(f"customer_id not in ({_listed(part.key, 'exclude')})")
    return conditions


def _listed(key: str, side: str) -> str:
    return (
        "select o.customer_id from segments.candidate_overrides as o "
        f"where o.segment_key = {literal(key)} and o.side = '{side}' and o.status = 'applied'"
    )
