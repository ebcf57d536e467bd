"""YAML documents that remember where each value stands.

Belongs here: reading one YAML file into plain values and finding the line of a value. Does not belong here:
what the values mean (`mapping.py`). Times and dates stay text, so that nothing is guessed about them.
"""

from dataclasses import dataclass
from pathlib import Path

import yaml

from segmentation.errors import CatalogError

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file: its values, and the line on which each begins."""

    path: Path
    values: object
    lines: dict[Location, int]

    def where(self, location: Location = ()) -> str:
        """Return ``file:line`` of the value at ``location``, or of the nearest value around it."""
        while location and location not in self.lines:
            location = location[:-1]
        return f"{self.path}:{self.lines.get(location, 1)}"


def read_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        CatalogError: The file can't be read, is not YAML, or names a key twice.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else 1
        raise CatalogError(
            f"not a YAML file: {error.problem}",
            where=f"{path}:{line}",
            expected="a YAML mapping",
            repair=f"correct line {line}",
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CatalogError(
            f"the file can't be read: {error}", where=str(path), expected="a UTF-8 YAML file", repair="correct the file"
        ) from error
    lines: dict[Location, int] = {(): 1}
    values = _value(node, (), lines, path)
    return Document(path, values, lines)


def _value(node: yaml.Node | None, at: Location, lines: dict[Location, int], path: Path) -> object:
    if node is None:
        return None
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*at, index), lines, path) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, at, lines, path)
    return _scalar(node)


def _mapping(node: yaml.MappingNode, at: Location, lines: dict[Location, int], path: Path) -> dict[str, object]:
    values: dict[str, object] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        line = key_node.start_mark.line + 1
        if key in values:
            raise CatalogError(
                f"the key {key!r} stands twice in one block",
                where=f"{path}:{line}",
                expected="each key once",
                repair=f"remove one of them (the other is on line {lines[(*at, key)]})",
            )
        lines[(*at, key)] = line
        values[key] = _value(value_node, (*at, key), lines, path)
    return values


def _scalar(node: yaml.Node) -> object:
    if node.tag.endswith((":int", ":float", ":bool", ":null")):
        return yaml.SafeLoader("").construct_object(node)
    return str(node.value)
