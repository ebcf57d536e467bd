"""What `catalog/purposes.yml` says: purposes of use, their hierarchy and their lawful basis.

Belongs here: reading and checking the file, and questions about the hierarchy. Does not belong here: what
customers decided (`consents.py`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from segmentation.identity.yaml_file import CatalogFile

PURPOSES_FILE = "purposes.yml"


class Purpose(BaseModel):
    """One purpose of use."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    description: Annotated[str, Field(min_length=1)]
    basis: Literal["consent", "contract", "legal_obligation", "legitimate_interest", "vital_interest", "public_task"]
    parent: str | None = None


class _PurposesFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    purposes: Annotated[dict[str, Purpose], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Purposes:
    """The purposes by name; a name that is not here is never allowed."""

    by_name: dict[str, Purpose]

    @property
    def unconditional(self) -> tuple[str, ...]:
        """Purposes whose lawful basis is not consent: nobody has to be asked."""
        return tuple(name for name, purpose in self.by_name.items() if purpose.basis != "consent")

    def lineage(self, name: str) -> tuple[str, ...]:
        """Return a purpose and its ancestors, nearest first."""
        found = [name]
        while (parent := self.by_name[found[-1]].parent) is not None:
            found.append(parent)
        return tuple(found)


def load_purposes(folder: Path) -> Purposes:
    """Read and check ``purposes.yml`` in ``folder``.

    Raises:
        CatalogError: The file is missing, names an unknown parent, or its hierarchy has a cycle.
    """
    file = CatalogFile(folder / PURPOSES_FILE)
    purposes = file.parse(_PurposesFile).purposes
    for name, purpose in purposes.items():
        seen = {name}
        above = purpose.parent
        while above is not None:
            place = ("purposes", name, "parent")
            if above not in purposes:
                expected = f"one of {', '.join(sorted(purposes))}"
                raise file.error(f"purpose {name} has the unknown ancestor {above}", place, expected=expected)
            if above in seen:
                raise file.error(f"purpose {name} is its own ancestor", place, expected="a hierarchy without a cycle")
            seen.add(above)
            above = purposes[above].parent
    return Purposes(dict(purposes))
