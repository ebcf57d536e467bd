"""A catalog file of identity, read so that every mistake has a line.

Belongs here: YAML to plain values, and validation errors to a `CatalogError` with file and line. Does not
belong here: what the values mean (`catalog.py`, `purposes.py`).
"""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from segmentation.errors import CatalogError

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[str | int, ...]


class CatalogFile:
    """One YAML file and where in it each value stands.

    Args:
        path: The file.

    Raises:
        CatalogError: The file is missing, is not UTF-8 or is not YAML.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise CatalogError(
                f"the catalog has no {path.name}",
                where=str(path),
                expected="a file that says what identity needs",
                repair=f"restore it: git checkout -- {path.name}",
            ) from None
        except UnicodeDecodeError as error:
            raise self.error("the file is not UTF-8", (), expected=f"UTF-8 text ({error.reason})") from None
        try:
            self._root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.values: object = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark else 1
            problem = str(getattr(error, "problem", None) or "the file is not YAML")
            raise CatalogError(
                f"the file is not valid YAML: {problem}",
                where=f"{path}:{line}",
                expected="a YAML mapping",
                repair=f"edit {path.name}, then: strata validate",
            ) from None

    def line_of(self, location: Location) -> int:
        """Return the line (1-based) of the value at ``location``, or of its nearest parent."""
        node = getattr(self, "_root", None)
        line = node.start_mark.line + 1 if node else 1
        for step in location:
            if isinstance(node, yaml.MappingNode):
                found = next((pair for pair in node.value if pair[0].value == str(step)), None)
                if found is None:
                    break
                line, node = found[0].start_mark.line + 1, found[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line + 1
            else:
                break
        return int(line)

    def error(self, what: str, location: Location, *, expected: str) -> CatalogError:
        """Build the error for a wrong value at ``location``."""
        return CatalogError(
            what,
            where=f"{self.path}:{self.line_of(location)}",
            expected=expected,
            repair=f"edit {self.path.name}, then: strata validate",
        )

    def parse(self, model: type[Model]) -> Model:
        """Validate the file as ``model``.

        Raises:
            CatalogError: The first thing that is wrong, with its line.
        """
        try:
            return model.model_validate(self.values)
        except ValidationError as error:
            # A misspelt key is also a missing one; the misspelling is what a person can see in the file.
            first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
            place = ".".join(str(step) for step in first["loc"]) or "the file"
            raise self.error(f"{place}: {first['msg']}", first["loc"], expected=_expected(first["type"])) from None


def _expected(error_type: str) -> str:
    """Say in words what pydantic's error type asks for."""
    known = {
        "extra_forbidden": "only keys that are known",
        "missing": "the key to be present",
        "model_type": "a mapping of keys to values",
    }
    return known.get(error_type, "a value that fits the rule above")
