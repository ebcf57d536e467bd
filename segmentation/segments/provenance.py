"""Where a definition that is evaluated comes from: of which class its change is, who answers for it, what waits.

Belongs here: what the stage notes of a definition beside the definition. Does not belong here: finding it
(``change_classes.py``, ``in_force.py``).
"""

from dataclasses import dataclass
from typing import Literal

ChangeClass = Literal["metadata", "non_breaking", "breaking"]
#: Classes by weight.
CLASSES: tuple[ChangeClass, ...] = ("metadata", "non_breaking", "breaking")

#: What a publication does to an approval: it takes its step, or its unit takes another one.
Fate = Literal["used", "overtaken"]

#: Who answers for what nobody had to approve.
CATALOG_AUTHOR = "svc:strata"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Of a definition that is new or different: the class of its change, and who let it go live."""

    change_class: ChangeClass
    author: str = CATALOG_AUTHOR


@dataclass(frozen=True, slots=True)
class HeldChange:
    """A change that waits: the approved version stays live.

    Attributes:
        unit_key: What is approved as one: ``group:KEY``, ``segment:KEY`` or ``policy``.
        subject: The segment or group that is defined differently, or ``policy``.
        what: ``added``, ``changed`` or ``removed``.
        change_class: Of the change by itself; one that is not breaking waits for another of its unit.
        reasons: Why it is of its class.
    """

    unit_key: str
    subject: str
    what: str
    change_class: ChangeClass
    reasons: tuple[str, ...]
