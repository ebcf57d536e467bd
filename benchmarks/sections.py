"""Sections of the report that stand for themselves, after what the chain writes.

Belongs here: putting one in place without touching the others. Does not belong here: what they say.
"""

import re
from pathlib import Path

#: Where the chain's part of the report ends.
MARK = "<!-- measured apart from the chain -->"


def replace_section(report: Path, title: str, text: str) -> None:
    """Write a section to the report, in place of the one with the same title, else after all others."""
    before = report.read_text(encoding="utf-8") if report.exists() else "# Benchmarks\n"
    own, _, apart = before.partition(MARK)
    sections = {
        name: body.strip()
        for name, body in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", apart, re.MULTILINE | re.DOTALL)
    }
    sections[title] = text.strip()
    rest = "".join(f"\n## {name}\n\n{body}\n" for name, body in sections.items())
    report.write_text(f"{own.rstrip()}\n\n{MARK}\n{rest}", encoding="utf-8")


def apart_from_the_chain(report: Path) -> str:
    """Return what stands after the chain's part, to be kept when that is written anew; empty where there is nothing."""
    if not report.exists():
        return ""
    _, mark, apart = report.read_text(encoding="utf-8").partition(MARK)
    return f"\n{mark}{apart}" if mark else ""
