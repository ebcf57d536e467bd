"""The catalog as a page for people: one HTML file that needs nothing from outside.

Belongs here: what is shown of each segment and how. Does not belong here: figures (``catalog_facts.py`` reads them) or
where the file goes. Everything that people or sources wrote is escaped, and the page forbids itself scripts and
requests, so that no text of a definition can do anything but be read.
"""

import html
from collections.abc import Sequence
from pathlib import Path

from segmentation.segments.catalog_facts import CatalogFacts, SegmentFacts

_WIDTH = 150
_HEIGHT = 32

_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d2b; --dim: #5f6070; --line: #dddfe8; --card: #fff; --page: #f6f6fa;
  --mark: #4f43dd; --warn: #a23b00; --soft: #ececfb; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf4; --dim: #a5a6b8; --line: #36374a; --card: #1f2030;
  --page: #14151f; --mark: #a49cff; --warn: #ffb07a; --soft: #2b2c44; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1080px; padding: 24px 20px 60px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 0; } h3 { margin: 32px 0 8px; font-size: 16px; }
p { margin: 6px 0; } .dim { color: var(--dim); } .warn { color: var(--warn); } a { color: var(--mark); }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 5px 10px 5px 0; border-bottom: 1px solid var(--line); vertical-align: middle; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr:last-child td { border: 0; } dd table { max-width: 440px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 16px 18px;
  margin: 14px 0; }
header { display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: baseline; }
.tag { background: var(--soft); border-radius: 10px; padding: 1px 9px; font-size: 12.5px; white-space: nowrap; }
dl { display: grid; grid-template-columns: 130px minmax(0, 1fr); gap: 3px 14px; margin: 10px 0 0; font-size: 14px; }
dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }
code, pre { font: 13px/1.45 ui-monospace, monospace; } ul.rule { margin: 0; padding-left: 18px; }
pre { background: var(--soft); border-radius: 6px; padding: 8px 10px; margin: 6px 0 0; white-space: pre-wrap;
  overflow-wrap: anywhere; } details { margin-top: 4px; } summary { cursor: pointer; color: var(--dim); }
svg { display: block; } @media (max-width: 560px) { dl { grid-template-columns: 1fr; } dd { margin-bottom: 5px; } }
"""


def render(facts: CatalogFacts) -> str:
    """Return the page: an overview, then each segment."""
    live = [one for one in facts.segments if one.is_live]
    groups = {group for one in facts.segments for group, _ in one.groups}
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Segments</title><style>{_STYLE}</style></head><body>\n"
        "<h1>Segments</h1>"
        f'<p class="dim">{len(live)} live of {len(facts.segments)}, {len(groups)} exclusive groups, '
        f"{facts.population:,} customers; as of {facts.as_of:%Y-%m-%d %H:%M} UTC</p>\n"
        f"{_overview(facts)}{''.join(_segment(facts, one) for one in facts.segments)}</body></html>\n"
    )


def write_page(facts: CatalogFacts, path: Path) -> None:
    """Write the page in place of the one before; who has that one open still reads a whole page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(render(facts), encoding="utf-8")
    draft.replace(path)


def _overview(facts: CatalogFacts) -> str:
    rows = "".join(
        f'<tr><td><a href="#{_text(one.segment_key)}">{_text(one.name)}</a></td>'
        f"<td>{_text(', '.join(group for group, _ in one.groups))}</td>"
        f'<td>{_text(one.owner)}</td><td class="n">{one.members:,}</td><td>{sparkline([n for _, n in one.sizes])}</td>'
        f'<td class="n">{_money(one.cost_micros)}</td><td class="n">{_due(facts, one)}</td></tr>'
        for one in facts.segments
    )
    heads = (("segment", ""), ("group", ""), ("owner", ""), ("members", "n"), ("over time", ""),
             (f"cost, {facts.currency}" if facts.currency else "cost", "n"), ("review by", "n"))  # fmt: skip
    head = "".join(f'<th class="{kind}">{_text(name)}</th>' for name, kind in heads)
    return f'<section class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></section>\n'


def _segment(facts: CatalogFacts, one: SegmentFacts) -> str:
    groups = [f"group {group}, rank {rank}" for group, rank in one.groups]
    tags = [one.lifecycle if one.is_live or one.lifecycle not in {"canary", "active", "deprecated"} else "expired",
            one.severity, one.objective, *groups]  # fmt: skip
    facts_shown: list[tuple[str, str]] = [
        ("owner", _text(" · ".join(filter(None, (one.owner, one.contact))))),
        ("action", _text(one.action)),
        ("measure", _text(one.measure)),
        ("members", f"{one.members:,} ({one.share:.1%} of all customers){sparkline([n for _, n in one.sizes])}"),
        ("who is in it", _rule(one)),
        ("overlap", _overlap(one)),
        ("goes to", _text(", ".join(one.destinations)) or "every destination that takes it"),
        ("cost", _cost(facts, one)),
        ("promised", _text(one.promise)),
        ("consent", _text(", ".join(one.purposes))),
        ("residency", _text(", ".join(one.residency))),
        ("next review", _due(facts, one)),
        ("expires", _text(one.expires_on)),
        ("versions", _versions(one)),
        ("defined in", f"<code>{_text(one.catalog_file)}</code>"),
    ]
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts_shown if value)
    shown = "".join(f'<span class="tag">{_text(tag)}</span>' for tag in tags if tag)
    return (
        f'<section id="{_text(one.segment_key)}"><header><h2>{_text(one.name)}</h2>'
        f"<code>{_text(one.segment_key)}</code>{shown}</header>"
        f"<p>{_text(one.description)}</p><dl>{listed}</dl></section>\n"
    )


def _rule(one: SegmentFacts) -> str:
    parts = []
    if one.words:
        joined = "all of" if one.words_joined_by == "and" else "any of"
        items = "".join(f"<li>{_text(line)}</li>" for line in one.words)
        parts.append(f'{joined}:<ul class="rule">{items}</ul>' if len(one.words) > 1 else _text(one.words[0]))
    if one.included or one.excluded:
        parts.append(f"<p>lists: {one.included} entries let in, {one.excluded} keep out</p>")
    if one.rule:
        parts.append(f"<details><summary>as SQL over features</summary><pre>{_text(one.rule)}</pre></details>")
    return "".join(parts)


def _overlap(one: SegmentFacts) -> str:
    if not one.overlaps:
        return ""
    rows = "".join(
        f'<tr><td><a href="#{_text(other.segment_key)}">{_text(other.segment_key)}</a></td>'
        f'<td class="n">{other.shared:,}</td><td class="n">{other.jaccard:.0%}</td></tr>'
        for other in one.overlaps
    )
    head = '<tr><th>with</th><th class="n">shared</th><th class="n">of those in either</th></tr>'
    return f'<div class="wide"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _versions(one: SegmentFacts) -> str:
    if not one.versions:
        return "never ran"
    newest, *older = one.versions
    text = f"{newest[0]}, since {newest[1]:%Y-%m-%d}"
    if older:
        items = "".join(f"<li>{number}, from {since:%Y-%m-%d}</li>" for number, since in older)
        text += f"<details><summary>{len(older)} earlier</summary><ul>{items}</ul></details>"
    return text


def _cost(facts: CatalogFacts, one: SegmentFacts) -> str:
    parts = []
    if one.cost_micros is not None:
        month = f" in {facts.cost_month:%Y-%m}" if facts.cost_month else ""
        parts.append(f"{_money(one.cost_micros)} {_text(facts.currency)}{month}")
    if one.cost_ceiling:
        parts.append(f"may be {_text(one.cost_ceiling)}")
    return "; ".join(parts)


def _due(facts: CatalogFacts, one: SegmentFacts) -> str:
    if one.review_by is None:
        return ""
    is_due = one.is_live and one.review_by <= facts.as_of.date()
    return f'<span class="warn">{one.review_by}, due</span>' if is_due else str(one.review_by)


def _money(micros: int | None) -> str:
    return "" if micros is None else f"{micros / 1_000_000:,.2f}"


def sparkline(values: Sequence[int]) -> str:
    """Return sizes over time as a small line from zero to the largest; nothing where there are fewer than two."""
    if len(values) <= 1:
        return ""
    largest, step = max(values) or 1, (_WIDTH - 4) / (len(values) - 1)
    points = [(2 + index * step, _HEIGHT - 3 - (_HEIGHT - 6) * value / largest) for index, value in enumerate(values)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    x, y = points[-1]
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="from {values[0]:,} to {values[-1]:,}">'
        f'<polyline points="{line}" fill="none" stroke="var(--mark)" stroke-width="1.5"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="var(--mark)"/></svg>'
    )


def _text(value: object) -> str:
    return "" if value is None else html.escape(" ".join(str(value).split()))
