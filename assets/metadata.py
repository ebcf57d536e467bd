"""What the asset pages show: row counts, columns, tables and small charts.

Belongs here: turning a stage's report and its tables into Dagster metadata. Does not belong here: any
figure that the domain did not already compute.
"""

import base64
import html
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import dagster as dg

from segmentation.contracts import column_notes
from segmentation.run import StageReport
from segmentation.segments.overlaps import Combination
from segmentation.warehouse import Connection, count, table_exists

_BAR_HEIGHT = 22
_LABEL_WIDTH = 190
_BAR_WIDTH = 380
_LINE_WIDTH = 480
_LINE_HEIGHT = 90
_LINE_TEXT = 16
#: Told apart by people who see few colours.
_LINE_COLOURS = ("#4f43dd", "#c75b00", "#00796b", "#5f6368")
_COLUMN_TOP = 44
_COLUMN_HEIGHT = 120
_DOT_WIDTH = 40
_DOT_HEIGHT = 18


def report_metadata(report: StageReport) -> dict[str, dg.MetadataValue]:
    """Metadata of a stage's report: each count and figure by its name, so that Dagster plots it over time."""
    metadata: dict[str, dg.MetadataValue] = {
        name.replace(" ", "_"): dg.MetadataValue.int(value) for name, value in report.rows.items()
    }
    metadata["candidate_id"] = dg.MetadataValue.text(report.candidate_id)
    for name, value in report.facts.items():
        metadata[name.replace(" ", "_")] = _figure(value)
    return metadata


def _figure(value: object) -> dg.MetadataValue:
    if isinstance(value, bool):
        return dg.MetadataValue.bool(value)
    if isinstance(value, int):
        return dg.MetadataValue.int(value)
    if isinstance(value, float):
        return dg.MetadataValue.float(value)
    if isinstance(value, str):
        return dg.MetadataValue.text(value)
    return dg.MetadataValue.json(value)  # type: ignore[arg-type]


def table_metadata(con: Connection, schema: str, table: str) -> dict[str, dg.MetadataValue]:
    """Row count, columns and storage name of a stage's table; empty where there is no such table."""
    if not table_exists(con, schema, table):
        return {}
    columns = con.execute(
        "select column_name, data_type, is_nullable from information_schema.columns "
        "where table_schema = ? and table_name = ? order by ordinal_position",
        [schema, table],
    ).fetchall()
    notes = column_notes(schema)
    return {
        "dagster/row_count": dg.MetadataValue.int(count(con, f'"{schema}"."{table}"')),
        "dagster/table_name": dg.MetadataValue.text(f"{schema}.{table}"),
        "dagster/column_schema": dg.MetadataValue.table_schema(
            dg.TableSchema(
                columns=[
                    dg.TableColumn(
                        name,
                        type_,
                        description=notes.get((table, name)),
                        constraints=dg.TableColumnConstraints(nullable=nullable == "YES"),
                    )
                    for name, type_, nullable in columns
                ]
            )
        ),
    }


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> dg.MetadataValue:
    """A small table; cells are escaped, so that no value can draw its own."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = html.escape(str(value)).replace("|", "\\|")
    return " ".join(text.split())


def bar_chart(title: str, values: Mapping[str, int]) -> dg.MetadataValue:
    """A horizontal bar chart as an inline picture; it needs nothing from outside the page."""
    largest = max(values.values(), default=0) or 1
    bars = []
    for index, (label, value) in enumerate(values.items()):
        top = 30 + index * _BAR_HEIGHT
        width = max(1, round(_BAR_WIDTH * value / largest))
        bars.append(
            f'<text x="{_LABEL_WIDTH - 8}" y="{top + 14}" text-anchor="end">{html.escape(label[:28])}</text>'
            f'<rect x="{_LABEL_WIDTH}" y="{top + 2}" width="{width}" height="{_BAR_HEIGHT - 6}" rx="2" fill="#4f43dd"/>'
            f'<text x="{_LABEL_WIDTH + width + 6}" y="{top + 14}">{value:,}</text>'
        )
    width, height = _LABEL_WIDTH + _BAR_WIDTH + 90, 40 + _BAR_HEIGHT * len(values)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="8" y="18" font-weight="bold">{html.escape(title)}</text>{"".join(bars)}</svg>'
    )
    return _picture(title, svg)


def upset_chart(title: str, combinations: Sequence[Combination]) -> dg.MetadataValue:
    """Combinations of sets as columns of dots below bars of their sizes (an UpSet plot), as an inline picture."""
    sizes: dict[str, int] = {}
    for one in combinations:
        for key in one.segment_keys:
            sizes[key] = sizes.get(key, 0) + one.customers
    # The largest set on top; a set that none of these combinations holds has no line.
    lines = {key: index for index, key in enumerate(sorted(sizes, key=lambda key: (-sizes[key], key)))}
    largest = max((one.customers for one in combinations), default=0) or 1
    width = _LABEL_WIDTH + _DOT_WIDTH * len(combinations) + 24
    drawn = []
    for key, index in lines.items():
        y = _COLUMN_TOP + _COLUMN_HEIGHT + 14 + index * _DOT_HEIGHT
        if index % 2 == 0:
            drawn.append(
                f'<rect x="{_LABEL_WIDTH}" y="{y}" width="{width - _LABEL_WIDTH - 12}" height="{_DOT_HEIGHT}" '
                'fill="#f3f2fb"/>'
            )
        label = html.escape(key[:28])
        drawn.append(f'<text x="{_LABEL_WIDTH - 8}" y="{y + 13}" text-anchor="end">{label}</text>')
    for column, one in enumerate(combinations):
        x = _LABEL_WIDTH + _DOT_WIDTH * column + _DOT_WIDTH // 2
        height = max(1, round(_COLUMN_HEIGHT * one.customers / largest))
        top = _COLUMN_TOP + _COLUMN_HEIGHT - height
        held = sorted(_COLUMN_TOP + _COLUMN_HEIGHT + 23 + lines[key] * _DOT_HEIGHT for key in one.segment_keys)
        drawn.append(
            f'<rect x="{x - 10}" y="{top}" width="20" height="{height}" rx="2" fill="#4f43dd"/>'
            f'<text x="{x}" y="{top - 4}" text-anchor="middle" font-size="10">{one.customers:,}</text>'
        )
        if held:
            drawn.append(f'<path d="M{x} {held[0]}V{held[-1]}" stroke="#4f43dd" stroke-width="2"/>')
        drawn += [f'<circle cx="{x}" cy="{y}" r="5" fill="#4f43dd"/>' for y in held]
    height = _COLUMN_TOP + _COLUMN_HEIGHT + 24 + _DOT_HEIGHT * len(lines)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="8" y="18" font-weight="bold">{html.escape(title)}</text>{"".join(drawn)}</svg>'
    )
    return _picture(title, svg)


def waterfall_chart(title: str, parts: Sequence[tuple[str, float]]) -> dg.MetadataValue:
    """Bars that begin where the one before ended, and the sum below them, as an inline picture."""
    ends = [0.0]
    for _, value in parts:
        ends.append(ends[-1] + value)
    spans = [*pairwise(ends), (0.0, ends[-1])]
    low, scale = min(ends), _BAR_WIDTH / ((max(ends) - min(ends)) or 1.0)
    bars = []
    for index, (label, (begin, end)) in enumerate(zip([*(name for name, _ in parts), "in all"], spans, strict=True)):
        top = 30 + index * _BAR_HEIGHT
        left, width = (min(begin, end) - low) * scale, max(1.0, abs(end - begin) * scale)
        colour = "#2e7d4f" if end >= begin else "#c0392b"
        bars.append(
            f'<text x="{_LABEL_WIDTH + 52}" y="{top + 14}" text-anchor="end">{html.escape(label[:40])}</text>'
            f'<rect x="{_LABEL_WIDTH + 60 + left:.1f}" y="{top + 2}" width="{width:.1f}" height="{_BAR_HEIGHT - 6}" '
            f'fill="{colour}"/><text x="{_LABEL_WIDTH + _BAR_WIDTH + 68}" y="{top + 14}">{end - begin:+.1f}</text>'
        )
    width, height = _LABEL_WIDTH + _BAR_WIDTH + 120, 40 + _BAR_HEIGHT * len(spans)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="8" y="18" font-weight="bold">{html.escape(title)}</text>{"".join(bars)}</svg>'
    )
    return _picture(title, svg)


def line_chart(title: str, values: Mapping[datetime, float]) -> dg.MetadataValue:
    """A line over moments as an inline picture, its scale from the lowest to the highest value."""
    return lines_chart(title, {"": values})


def lines_chart(title: str, lines: Mapping[str, Mapping[datetime, float]]) -> dg.MetadataValue:
    """Lines over moments by name, on one scale, as an inline picture; each line has a value at least."""
    moments = sorted({moment for values in lines.values() for moment in values})
    everything = [value for values in lines.values() for value in values.values()]
    low, high = min(everything), max(everything)
    span, steps = (high - low) or 1.0, max(1, len(moments) - 1)
    across = {moment: 8 + _LINE_WIDTH * index / steps for index, moment in enumerate(moments)}
    right, bottom = 8 + _LINE_WIDTH, 32 + _LINE_HEIGHT
    drawn = []
    for place, (name, values) in enumerate(lines.items()):
        colour = _LINE_COLOURS[place % len(_LINE_COLOURS)]
        points = [
            (across[moment], 32 + _LINE_HEIGHT * (1 - (value - low) / span if high > low else 0.5))
            for moment, value in sorted(values.items())
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        drawn.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in points]
        if name:
            newest = values[max(values)]
            drawn.append(
                f'<text x="8" y="{bottom + 38 + place * _LINE_TEXT}" fill="{colour}">'
                f"{html.escape(name)}: {newest:,.4g}</text>"
            )
    named = sum(bool(name) for name in lines)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{right + 100}" height="{bottom + 28 + named * _LINE_TEXT}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="8" y="18" font-weight="bold">{html.escape(title)}</text>{"".join(drawn)}'
        f'<text x="{right + 8}" y="36">{high:,.4g}</text><text x="{right + 8}" y="{bottom}">{low:,.4g}</text>'
        f'<text x="8" y="{bottom + 20}">{moments[0]:%Y-%m-%d}</text>'
        f'<text x="{right}" y="{bottom + 20}" text-anchor="end">{moments[-1]:%Y-%m-%d}</text></svg>'
    )
    return _picture(title, svg)


def _picture(title: str, svg: str) -> dg.MetadataValue:
    encoded = base64.b64encode(svg.encode()).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/svg+xml;base64,{encoded})")


def catalog_link(path: Path) -> dg.MetadataValue:
    """A link to the catalog file or folder that decides what this asset holds."""
    return dg.MetadataValue.path(path)
