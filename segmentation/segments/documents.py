"""YAML files that remember where each value stands.

Belongs here: reading YAML strictly (no duplicate keys, no aliases, no tags) with the line of every value.
Does not belong here: what the values mean (``definitions.py``). Look next at ``catalog.py``.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from segmentation.segments.faults import Fault

Path_ = tuple[str | int, ...]

_PLAIN_TAGS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}

#: Largest catalog file, in bytes.
MAX_BYTES = 1_000_000
#: Deepest nesting of lists and keys.
MAX_DEPTH = 50

_OPENING = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)


@dataclass(frozen=True, slots=True)
class Place:
    """A line and column, counted from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Document:
    """One YAML file's content.

    Attributes:
        content: Plain dicts, lists and scalars.
        places: Where each value's key (or item) stands, by its path.
        texts: Where the text of each scalar begins, by its path; ``None`` where lines were folded.
        faults: What is wrong with the file itself; ``content`` is then partial or ``None``.
    """

    content: Any = None
    places: dict[Path_, Place] = field(default_factory=dict)
    texts: dict[Path_, Place | None] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def place(self, path: Path_) -> Place:
        """Return where a value stands, or the nearest value around it."""
        for length in range(len(path), 0, -1):
            found = self.places.get(path[:length])
            if found:
                return found
        return Place(1, 1)

    def within(self, path: Path_, line: int | None, column: int | None) -> Place:
        """Return the file's place of a line and column within a scalar's text."""
        start = self.texts.get(path)
        if start is None or line is None:
            return self.place(path)
        block = start.line > self.place(path).line
        indent = start.column - 1 if block or line == 1 else 0
        return Place(start.line + line - 1, indent + (column or 1))


def read_document(path: Path) -> Document:
    """Read a YAML file; what is wrong with it is in ``faults``, nothing is raised for content."""
    document = Document()
    try:
        if path.stat().st_size > MAX_BYTES:
            document.faults.append(Fault(f"the file is larger than {MAX_BYTES:,} bytes"))
            return document
        text = path.read_text(encoding="utf-8")
        _Reader(document, text).read()
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        document.faults.append(Fault("the file is not UTF-8", line=line, repair="save it as UTF-8"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        repair = "indent with spaces" if mark and "\t" in (error.problem or "") else ""
        fault = Fault(
            f"not YAML: {error.problem or error.context}",
            line=mark.line + 1 if mark else None,
            column=mark.column + 1 if mark else None,
            repair=repair,
        )
        document.faults.append(fault)
    except (yaml.YAMLError, ValueError) as error:
        document.faults.append(Fault(f"not YAML: {str(error).splitlines()[0]}"))
    return document


class _Reader:
    def __init__(self, document: Document, text: str) -> None:
        self._document = document
        self._text = text
        self._loader = yaml.SafeLoader(text)

    def read(self) -> None:
        depth = 0
        for token in yaml.scan(self._text, Loader=yaml.SafeLoader):
            # The scanner's own cost grows with the square of this depth, so it is watched while scanning.
            depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
            if depth > MAX_DEPTH:
                self._fault(token.start_mark, "the file is nested too deeply")
                return
            if isinstance(token, (yaml.AliasToken, yaml.AnchorToken)):
                self._fault(token.start_mark, "anchors and aliases are not allowed", "write the value out")
                return
        node = self._loader.get_single_node()
        self._document.content = None if node is None else self._value(node, ())

    def _fault(self, mark: yaml.Mark, what: str, repair: str = "") -> None:
        self._document.faults.append(Fault(what, line=mark.line + 1, column=mark.column + 1, repair=repair))

    def _value(self, node: yaml.Node, path: Path_) -> Any:
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN_TAGS:
            self._fault(node.start_mark, f"the tag {node.tag} is not allowed", "write the plain value")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                self._document.places[(*path, index)] = _place(item.start_mark)
                items.append(self._value(item, (*path, index)))
            return items
        if isinstance(node, yaml.ScalarNode):
            self._document.texts[path] = self._text_start(node)
        return self._loader.construct_object(node, deep=True)

    def _mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(key_node.start_mark, "a key must be a plain text")
                continue
            key = str(key_node.value)
            if key in content:
                first = self._document.places[(*path, key)].line
                self._fault(key_node.start_mark, f"duplicate key {key}, first given in line {first}", "keep one")
                continue
            self._document.places[(*path, key)] = _place(key_node.start_mark)
            content[key] = self._value(value_node, (*path, key))
        return content

    def _text_start(self, node: yaml.ScalarNode) -> Place | None:
        mark, style = node.start_mark, node.style
        if style == "|":
            lines = self._text.splitlines()
            for number in range(mark.line + 1, len(lines)):
                if lines[number].strip():
                    indent = len(lines[number]) - len(lines[number].lstrip(" "))
                    # Blank lines before the first one belong to the text.
                    return Place(mark.line + 2, indent + 1)
            return None
        if style == ">" or node.end_mark.line > mark.line:
            return None
        return Place(mark.line + 1, mark.column + 1 + (style in {"'", '"'}))


def _place(mark: yaml.Mark) -> Place:
    return Place(mark.line + 1, mark.column + 1)
