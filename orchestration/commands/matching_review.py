"""`strata matching …` for pairs: review, show, label, unlabel, sample.

Belongs here: asking and showing. Does not belong here: reading pairs (`segmentation/identity/matching/review.py`), or
what a label does (`labels.py` beside it). Values of people are masked unless somebody asks for them.
"""

from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text

from orchestration.commands.console import Json, hint_table, out, print_json, table
from orchestration.commands.identity_steward import Author, Reason, deciding, require_warehouse
from orchestration.settings import Settings, now
from segmentation.contracts import ensure_schema
from segmentation.errors import StrataError
from segmentation.identity.catalog import IdentifierRules, load_identifier_rules
from segmentation.identity.matching.candidates import Matching, load_matching_in_force
from segmentation.identity.matching.catalog import MATCHING_FILE, require_matching
from segmentation.identity.matching.labels import (
    Pair,
    Precision,
    add_label,
    assess,
    draw_sample,
    end_label,
    find_contradictions,
    read_pair,
)
from segmentation.identity.matching.review import Match, Record, read_matches, with_values
from segmentation.identity.operator_rules import published_moment
from segmentation.identity.rule_book import Signature
from segmentation.run import Run
from segmentation.warehouse import Connection

#: Columns of the widest bar.
_BAR = 30
#: What an attribute adds at least to be told in one line.
_LEAST_BITS = 0.5


class State(StrEnum):
    """What came of a pair."""

    REVIEW = "review"
    AUTOMATIC = "automatic"
    MATCH = "match"
    NO_MATCH = "no_match"
    EVIDENT = "evident"
    ALL = "all"


class Said(StrEnum):
    """What a person says of a pair."""

    MATCH = "match"
    NO_MATCH = "no_match"


Reveal = Annotated[bool, typer.Option("--reveal", help="Show values as they are; they are personal data.")]
PairName = Annotated[str, typer.Argument(metavar="PAIR", help="Two node ids, such as 17-42.")]


def review(
    state: Annotated[State, typer.Option(help="Pairs of this state; all for any.")] = State.REVIEW,
    sample: Annotated[bool, typer.Option("--sample", help="Pairs that were drawn and nobody has labelled.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many pairs.")] = 20,
    reveal: Reveal = False,
    as_json: Json = False,
) -> None:
    """List pairs of records that look like one person's and that nobody has looked at; values are masked."""
    settings = Settings.load()
    require_warehouse(settings)
    definition, rules = require_matching(settings.catalog), load_identifier_rules(settings.catalog)
    matching = load_matching_in_force(settings.catalog, settings.matching_models_folder)
    with settings.warehouse.write() as con:
        ensure_schema(con, "identity")
        found = read_matches(con, state=state, drawn=sample, limit=limit, providers=rules.email_providers)
        found = with_values(con, _published(con), rules, definition, found, reveal=reveal)
        counted = dict(con.execute("select state, count(*) from identity.match_candidates group by all").fetchall())
        precision = assess(con, matching, rules.email_providers) if matching else None
        contradictions = find_contradictions(con, rules.email_providers)
    if as_json:
        pairs = [asdict(one) for one in found]
        print_json({"states": counted, "precision": precision, "pairs": pairs, "contradictions": contradictions})
        return
    rows = [
        (
            Text(one.pair, style="bold"),
            f"{one.probability:.2%}",
            one.state + (", drawn" if one.drawn else ""),
            *(_shown(record) for record in one.records),
            _levels(one, agreeing=True),
            _levels(one, agreeing=False) + (f"; refused: {one.refused}" if one.refused else ""),
        )
        for one in found
    ]
    out.print(table(["pair", "probability", "state", "record", "other record", "for it", "against it"], rows))
    told = ", ".join(f"{number:,} {name}" for name, number in sorted(counted.items())) or "no pairs"
    out.print(Text(told if matching else f"{told}; matching is off", style="dim"))
    if precision:
        out.print(Text(_told(precision), style="dim"))
    if contradictions:
        out.print(Text("\npeople call these no match, and evidence makes them one customer's:", style="yellow"))
        rows = [(one.pair, one.customer_id, one.author, one.reason) for one in contradictions]
        out.print(table(["pair", "customer", "author", "reason"], rows))
        one, other = contradictions[0].pair.split("-")
        out.print(
            hint_table(
                [
                    (f"strata identity why node:{one} node:{other}", "the evidence"),
                    ("strata identity split", "keeps them apart whatever the evidence says"),
                    ("strata matching unlabel PAIR", "takes the label back"),
                ]
            )
        )
    out.print(
        hint_table(
            [
                ("strata matching show PAIR", "what speaks for it, and what against"),
                ("strata matching label PAIR match", "or no_match, with --author and --reason"),
            ]
        )
    )


def show(pair: PairName, reveal: Reveal = False, as_json: Json = False) -> None:
    """Show one pair: both records, and what each attribute adds to the evidence."""
    settings = Settings.load()
    require_warehouse(settings)
    definition, rules = require_matching(settings.catalog), load_identifier_rules(settings.catalog)
    with settings.warehouse.write() as con:
        ensure_schema(con, "identity")
        named = read_pair(con, pair, rules.email_providers)
        found = _read(con, named, rules)
        [match] = with_values(con, _published(con), rules, definition, [found], reveal=reveal)
    if as_json:
        print_json(match)
        return
    one, other = match.records
    out.print(
        Text(match.pair, style="bold"),
        f"{match.probability:.4%}, {match.weight:+.1f} bits by model {match.model_version}; {match.state}",
    )
    if match.author:
        out.print(Text(f"  labelled by {match.author}: {match.reason}"))
    if match.refused:
        out.print(Text(f"  its link is refused: {match.refused}", style="red"))
    out.print()
    for record in match.records:
        whose = record.customer_id or "nobody"
        named_by = f"{record.id_type} of {record.source}" if record.source else record.id_type
        out.print(Text(f"node:{record.node_id}  {named_by}, {whose}", style="dim"))
    out.print()
    out.print(
        table(["attribute", "record", "other record", "", "bits", ""], _waterfall(match, one.values, other.values))
    )


def label(
    pair: PairName,
    verdict: Annotated[Said, typer.Argument(help="match or no_match.")],
    author: Author,
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Say that two records are one person's, or that they are not; it acts with the next run."""
    with deciding(Settings.load()) as (con, rules):
        named = read_pair(con, pair, rules.email_providers)
        done = add_label(con, named, verdict.value, Signature(author, reason, now()), rules.email_providers)
    if as_json:
        print_json({"pair": str(named), "verdict": done.verdict, "label_seq": done.label_seq})
        return
    meaning = "one person's" if verdict is Said.MATCH else "of two people"
    out.print(Text(str(named), style="bold"), f"the records are {meaning}, says {author}")
    out.print(
        hint_table(
            [
                ("strata run --from identity", "makes it so, within the guards"),
                (f"strata matching unlabel {named}", "takes it back"),
            ]
        )
    )


def unlabel(pair: PairName, author: Author, reason: Reason, as_json: Json = False) -> None:
    """Take back what was said of a pair: from the next run on it is as if nobody had said it."""
    with deciding(Settings.load()) as (con, rules):
        named = read_pair(con, pair, rules.email_providers)
        end_label(con, named, Signature(author, reason, now()), rules.email_providers)
    if as_json:
        print_json({"pair": str(named), "verdict": None})
        return
    out.print(Text(str(named), style="bold"), "has no label any more")
    out.print(hint_table([("strata run --from identity", "makes it so")]))


def sample(
    author: Author,
    reason: Reason,
    size: Annotated[int, typer.Option(min=1, help="How many pairs to draw.")] = 50,
    as_json: Json = False,
) -> None:
    """Draw pairs at random, from those that would be linked automatically, for people to label."""
    settings = Settings.load()
    matching = _require_in_force(settings)
    with deciding(settings) as (con, rules):
        drawn = draw_sample(con, matching, size, Signature(author, reason, now()), rules.email_providers)
        precision = assess(con, matching, rules.email_providers)
    if as_json:
        print_json({"drawn": drawn, "precision": precision})
        return
    out.print(f"{drawn:,} pairs drawn; {_told(precision)}", markup=False)
    out.print(hint_table([("strata matching review --sample", "lists them until they are labelled")]))


def _require_in_force(settings: Settings) -> Matching:
    require_warehouse(settings)
    matching = load_matching_in_force(settings.catalog, settings.matching_models_folder)
    if matching is None:
        raise StrataError(
            "matching is off",
            where=str(settings.catalog / MATCHING_FILE),
            expected="enabled: true, and the version of a model",
            repair="strata matching train, then edit the file and strata run --from identity",
        )
    return matching


def _published(con: Connection) -> Run:
    return Run("review", published_moment(con), now())


def _read(con: Connection, pair: Pair, rules: IdentifierRules) -> Match:
    found = read_matches(con, pairs=[pair], providers=rules.email_providers)
    if not found:
        raise StrataError(
            f"the model in force no longer finds {pair}",
            where="identity.match_candidates",
            expected="a pair that strata matching review lists",
            repair=f"strata matching unlabel {pair} takes its label back",
        )
    return found[0]


def _told(precision: Precision) -> str:
    if precision.least is None:
        return "nothing is linked automatically"
    if precision.low is None:
        return "nothing is linked automatically until a sample is drawn and labelled: strata matching sample"
    what = "reaches" if precision.suffices else "does not reach"
    return (
        f"sample: {precision.right:,} of {precision.drawn:,} drawn are matches, {precision.labelled:,} are labelled; "
        f"at least {precision.low:.2%} are right, which {what} the {precision.least:.2%} that automatic links need"
    )


def _shown(record: Record) -> str:
    return ", ".join(value for value in record.values.values() if value) or f"node:{record.node_id}"


def _levels(match: Match, *, agreeing: bool) -> str:
    """Return what speaks for a pair, or against it, the strongest first; what hardly counts is left out."""
    sign = 1 if agreeing else -1
    parts = [one for one in match.parts if one.level and sign * one.bits > _LEAST_BITS]
    return ", ".join(f"{one.attribute} {one.level}" for one in sorted(parts, key=lambda one: -abs(one.bits)))


def _waterfall(match: Match, one: dict[str, str | None], other: dict[str, str | None]) -> list[Sequence[object]]:
    """Return a row per part, each bar beginning where the one before ended, and one for the sum."""
    ends = [0.0]
    for part in match.parts:
        ends.append(ends[-1] + part.bits)
    low, span = min(ends), (max(ends) - min(ends)) or 1.0

    def bar(begin: float, end: float) -> Text:
        left, right = sorted(round((edge - low) / span * _BAR) for edge in (begin, end))
        return Text(" " * left + ("█" * (right - left) or "▏"), style="green" if end >= begin else "red")

    rows: list[Sequence[object]] = [
        (
            part.attribute,
            one.get(part.attribute) or "",
            other.get(part.attribute) or "",
            part.level,
            f"{part.bits:+.1f}",
            bar(begin, begin + part.bits),
        )
        for part, begin in zip(match.parts, ends, strict=False)
    ]
    rows.append((Text("in all", style="bold"), "", "", "", f"{match.weight:+.1f}", bar(0.0, match.weight)))
    return rows


def register(group: typer.Typer) -> None:
    """Add the commands of this module to ``strata matching``."""
    for command in (review, show, label, unlabel, sample):
        group.command(command.__name__)(command)
