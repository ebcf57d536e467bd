"""What `catalog/purposes.yml` says: purposes of use, their hierarchy and their lawful basis.

Belongs here: reading and checking the file, and questions about the hierarchy. Does not belong here: what
customers decided (`consents.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from segmentation.documents import Document, read_document, refuse
from segmentation.errors import CatalogProblem, did_you_mean

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
        CatalogProblems: The file is missing, names an unknown parent, or its hierarchy has a cycle.
    """
    document = read_document(folder / PURPOSES_FILE)
    purposes = document.parse(_PurposesFile, expected="purposes as catalog/purposes.yml explains them").purposes
    refuse(_hierarchy_problems(document, purposes))
    return Purposes(dict(purposes))


def _hierarchy_problems(document: Document, purposes: dict[str, Purpose]) -> Iterator[CatalogProblem]:
    for name, purpose in purposes.items():
        place = ("purposes", name, "parent")
        seen = {name}
        above = purpose.parent
        while above is not None:
            if above not in purposes:
                what = f"purpose {name} has the unknown ancestor {above}{did_you_mean(above, purposes)}"
                yield document.problem(what, place, expected=f"one of {', '.join(sorted(purposes))}")
                break
            if above in seen:
                what = f"purpose {name} is its own ancestor, or below one that is"
                yield document.problem(what, place, expected="a hierarchy without a cycle")
                break
            seen.add(above)
            above = purposes[above].parent
