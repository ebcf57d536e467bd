"""How commands speak: tables for people, JSON for programs, errors on the error stream."""

import dataclasses
import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

#: Option that every command has.
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

#: Columns of what goes to a file or a pipe; a terminal says its own width.
_WIDTH = 120

#: What a terminal obeys instead of showing it: controls but for tabs and line ends, and marks that turn around the
#: order of characters. Names and descriptions are other people's words.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class _Terminal(Console):
    """A console that shows what data holds, and lets it command nothing."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or not _OBEYED.search(segment.text):
                yield segment
            else:
                yield Segment(_OBEYED.sub("\N{REPLACEMENT CHARACTER}", segment.text), segment.style)


out = _Terminal(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
err = _Terminal(stderr=True, highlight=False)


def print_json(value: object) -> None:
    """Print a value as JSON on one stream that nothing else writes to."""
    print(json.dumps(value, default=_plain, ensure_ascii=False, indent=2))  # noqa: T201 - the command's result


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Iterable):
        return list(value)
    return str(value)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> Table:
    """Build a table; numbers are right-aligned and grouped, text is never taken for markup."""
    built = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=None, pad_edge=False)
    cells = [list(row) for row in rows]
    for index, name in enumerate(columns):
        numeric = any(_is_number(row[index]) for row in cells)
        built.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        built.add_row(*(value if isinstance(value, Text) else Text(format_cell(value)) for value in row))
    return built


def hint_table(hints: Iterable[tuple[str, str]]) -> Table:
    """Build an indented list of commands and what each is for."""
    built = Table.grid(padding=(0, 3))
    built.add_column(no_wrap=True)
    built.add_column(overflow="fold")
    for command, purpose in hints:
        built.add_row(Text(f"  {command}", style="bold"), Text(purpose))
    return built


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def format_cell(value: object) -> str:
    """Show a value as people write it: 12,345, 0.25, yes, a moment to the second, or nothing for none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return str(value)


def format_money(micros: int | None, currency: str = "") -> str:
    """Show micros of a currency with two decimals."""
    if micros is None:
        return "–"
    return f"{micros / 1_000_000:,.2f} {currency}".strip()
