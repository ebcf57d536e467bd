"""Catalog files: YAML read strictly, with the place of every value.

Belongs here: turning a file into plain values or into problems with line and column, and checking it against a
model. Does not belong here: what the values mean (each stage's catalog module) or putting a model's complaints into
words (`complaints.py`). Dates and times stay text until a model asks for them, so that nothing is guessed.
"""

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from segmentation.complaints import Location, complaints_of, keys_at
from segmentation.errors import CatalogProblem, CatalogProblems

Model = TypeVar("Model", bound=BaseModel)

#: Largest catalog file, in bytes.
MAX_BYTES = 1_000_000
#: Deepest nesting of lists and keys.
MAX_DEPTH = 50

#: Longest text that is kept as it was read: with some hundred files, a few megabytes in all.
_REMEMBERED_CHARACTERS = 40_000

_YAML = "tag:yaml.org,2002:"
_COLLECTIONS = {f"{_YAML}map", f"{_YAML}seq"}
_TEXTS = {f"{_YAML}str", f"{_YAML}timestamp", f"{_YAML}value", f"{_YAML}merge"}
#: Plain values of other types, and how they must be written so that no reader can take them for something else.
_WRITTEN = {
    f"{_YAML}null": re.compile(r"~|null|Null|NULL|"),
    f"{_YAML}bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    f"{_YAML}int": re.compile(r"[-+]?(0|[1-9][0-9_]*)"),
    f"{_YAML}float": re.compile(r"[-+]?([0-9][0-9_]*)?\.[0-9_]*([eE][-+][0-9]+)?"),
}
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
        path: The file.
        name: What messages call it.
        content: Plain dicts, lists and scalars; partial where the file itself has problems.
        problems: What is wrong with the file itself.
        places: Where each value's key (or item) stands, by its location.
        texts: Where the text of each scalar begins, by its location; ``None`` where lines were folded.
    """

    path: Path
    name: str
    content: Any = None
    problems: list[CatalogProblem] = field(default_factory=list)
    places: dict[Location, Place] = field(default_factory=dict)
    texts: dict[Location, Place | None] = field(default_factory=dict)

    def place(self, location: Location) -> Place:
        """Return where a value stands, or the nearest value around it."""
        for length in range(len(location), 0, -1):
            found = self.places.get(location[:length])
            if found:
                return found
        return Place(1, 1)

    def where(self, location: Location) -> str:
        """Return ``file:line`` of a value, or of the nearest value around it."""
        return f"{self.name}:{self.place(location).line}"

    def within(self, location: Location, line: int | None, column: int | None) -> Place:
        """Return the file's place of a line and column within a scalar's text."""
        start = self.texts.get(location)
        if start is None or line is None:
            return self.place(location)
        block = start.line > self.place(location).line
        indent = start.column - 1 if block or line == 1 else 0
        return Place(start.line + line - 1, indent + (column or 1))

    def problem(self, what: str, location: Location = (), *, expected: str = "", repair: str = "") -> CatalogProblem:
        """Return a problem of the value at ``location``."""
        at = self.place(location)
        repair = repair or f"edit {self.path.name}, then: strata validate"
        return CatalogProblem(self.name, at.line, what, column=at.column, expected=expected, repair=repair)

    def parse(self, model: type[Model], *, given: Mapping[str, object] | None = None, expected: str = "") -> Model:
        """Return the file as a model.

        Args:
            model: What the file must be.
            given: Fields that are known from elsewhere, and that the file must not have.
            expected: What would have been right, for messages that can't say it themselves.

        Raises:
            CatalogProblems: Everything that is wrong with the file, as far as the file alone can show it.
        """
        given = given or {}
        refuse(self.problems)
        known = keys_at(model, ())
        if not isinstance(self.content, dict):
            refuse([self.problem("the file holds no keys", expected=f"the keys {', '.join(known)}")])
        problems = [
            self.problem(f"unknown key {name}", (name,), expected=f"one of {', '.join(known)}")
            for name in given
            if name in self.content
        ]
        try:
            parsed = model.model_validate({**self.content, **given})
        except ValidationError as error:
            problems += [
                self.problem(one.what, one.location, expected=one.expected or expected, repair=one.repair)
                for one in complaints_of(error, model, self.places)
            ]
            raise CatalogProblems(problems) from None
        refuse(problems)
        return parsed


def refuse(problems: Iterable[CatalogProblem]) -> None:
    """Refuse a catalog that has problems; without any, do nothing.

    Raises:
        CatalogProblems: With all of them.
    """
    found = list(problems)
    if found:
        raise CatalogProblems(found)


def read_document(path: Path, name: str = "") -> Document:
    """Read a YAML file; what is wrong with it is in ``problems``, and ``parse`` raises it.

    Args:
        path: The file.
        name: What messages call it; its path where left out.
    """
    document = Document(path, name or str(path))
    try:
        if path.stat().st_size > MAX_BYTES:
            document.problems.append(document.problem(f"the file is larger than {MAX_BYTES:,} bytes"))
            return document
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        what = f"{path.name} can't be read: {(error.strerror or str(error)).lower()}"
        problem = document.problem(what, expected="a YAML file", repair="restore the file, or its permissions")
        document.problems.append(problem)
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        problem = CatalogProblem(
            document.name, line, "the file is not UTF-8", expected="UTF-8 text", repair="save it as UTF-8"
        )
        document.problems.append(problem)
    else:
        read = _read if len(text) <= _REMEMBERED_CHARACTERS else _read.__wrapped__
        known = read(document.name, text)
        # What a caller changes is its own; places are never changed.
        document.content, document.problems = deepcopy(known.content), list(known.problems)
        document.places, document.texts = dict(known.places), dict(known.texts)
    return document


@lru_cache(maxsize=256)
def _read(name: str, text: str) -> Document:
    """Read a text; the same one is read once.

    A run asks for the same files several times, and scanning YAML costs more than all else here.
    """
    document = Document(Path(name), name)
    _Reader(document, text).read()
    return document


class _NotPlainError(Exception):
    """A token that catalog files may not hold."""

    def __init__(self, mark: yaml.Mark, what: str, repair: str = "") -> None:
        self.mark = mark
        self.what = what
        self.repair = repair
        super().__init__(what)


class _Loader(yaml.SafeLoader):
    """Reads plain YAML only; every token is looked at as it is read, because scanning twice costs twice."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def get_token(self) -> yaml.Token | None:
        """Take the next token, and refuse it where catalog files may not hold it."""
        token: yaml.Token | None = super().get_token()  # type: ignore[no-untyped-call]
        # The scanner's own cost grows with the square of this depth, so it is watched while scanning.
        self._depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if token is not None and self._depth > MAX_DEPTH:
            raise _NotPlainError(token.start_mark, "the file is nested too deeply")
        if isinstance(token, (yaml.AliasToken, yaml.AnchorToken)):
            raise _NotPlainError(token.start_mark, "anchors and aliases are not allowed", "write the value out")
        return token


class _Reader:
    """Fills a document from its text."""

    def __init__(self, document: Document, text: str) -> None:
        self._document = document
        self._text = text

    def read(self) -> None:
        try:
            loader = _Loader(self._text)
            node = loader.get_single_node()
            self._document.content = None if node is None else self._value(node, (), loader)
        except _NotPlainError as error:
            self._fault(error.mark, error.what, error.repair)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            repair = "indent with spaces" if "\t" in (error.problem or "") else ""
            self._fault(mark, f"not YAML: {error.problem or error.context}", repair)
        except yaml.YAMLError as error:
            self._fault(None, f"not YAML: {str(error).splitlines()[0]}")

    def _fault(self, mark: yaml.Mark | None, what: str, repair: str = "") -> None:
        at = _place(mark) if mark else Place(1, 1)
        name = self._document.name
        repair = repair or f"correct line {at.line}, then: strata validate"
        fault = CatalogProblem(name, at.line, what, column=at.column, expected="plain YAML", repair=repair)
        self._document.problems.append(fault)

    def _value(self, node: yaml.Node, at: Location, loader: yaml.SafeLoader) -> Any:
        if isinstance(node, yaml.ScalarNode):
            self._document.texts[at] = self._text_start(node)
            return self._scalar(node, loader)
        if node.tag not in _COLLECTIONS:
            self._fault(node.start_mark, f"the tag {node.tag} is not allowed", "write the plain value")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at, loader)
        items = []
        for index, item in enumerate(node.value):
            self._document.places[(*at, index)] = _place(item.start_mark)
            items.append(self._value(item, (*at, index), loader))
        return items

    def _mapping(self, node: yaml.MappingNode, at: Location, loader: yaml.SafeLoader) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(key_node.start_mark, "a key must be a plain text")
                continue
            key = str(key_node.value)
            if key in content:
                first = self._document.places[(*at, key)].line
                self._fault(key_node.start_mark, f"duplicate key {key}, first given in line {first}", "keep one")
                continue
            self._document.places[(*at, key)] = _place(key_node.start_mark)
            content[key] = self._value(value_node, (*at, key), loader)
        return content

    def _scalar(self, node: yaml.ScalarNode, loader: yaml.SafeLoader) -> Any:
        written = str(node.value)
        if node.tag in _TEXTS:
            return written
        if node.tag not in _WRITTEN:
            self._fault(node.start_mark, f"the tag {node.tag} is not allowed", "write the plain value")
            return None
        if not _WRITTEN[node.tag].fullmatch(written):
            kind = node.tag.removeprefix(_YAML)
            what = f"{written} may mean a text or something else (YAML: {kind})"
            self._fault(node.start_mark, what, f'write "{written}" in quotes, or the {kind} in its plain form')
            return None
        return loader.construct_object(node)

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
