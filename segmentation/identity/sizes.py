"""How many identifiers components hold: before the guards, and as customers after them.

Belongs here: the classes of sizes, and counting components by them. Does not belong here: finding components
(`components.py`, `admission.py`), or how large one may be (`catalog.py`).
"""

import numpy as np

from segmentation.identity.components import Integers

#: Least size of each class; the last one has no end. Small classes are narrow, because most components are small and
#: what goes wrong shows there first as a shift.
_LEAST = (1, 2, 3, 6, 11, 101, 1_001, 10_001, 100_001)


def _name(place: int) -> str:
    least = _LEAST[place]
    if place == len(_LEAST) - 1:
        return f"{least}_or_more"
    most = _LEAST[place + 1] - 1
    return str(least) if least == most else f"{least}_to_{most}"


#: Names of the classes, smallest first: ``1``, ``2``, ``3_to_5``, …, ``100001_or_more``.
CLASSES: tuple[str, ...] = tuple(map(_name, range(len(_LEAST))))

#: What figures about components before the guards, and about customers after them, begin with; a class follows.
RAW, CUSTOMERS = "raw_components_of_", "customers_of_"


def count_by_class(prefix: str, sizes: Integers, counts: Integers) -> dict[str, int]:
    """Return how many components there are of each class, as figures.

    Args:
        prefix: ``RAW`` or ``CUSTOMERS``.
        sizes: Sizes of components, at least 1.
        counts: How many of each of these sizes; negative ones take away.
    """
    places = np.searchsorted(np.array(_LEAST), sizes, side="right") - 1
    found = np.zeros(len(_LEAST), dtype=np.int64)
    np.add.at(found, places, counts)
    return {f"{prefix}{name}": int(n) for name, n in zip(CLASSES, found, strict=True)}


def shown(name: str) -> str:
    """Return the name of a class for people: ``3_to_5`` becomes ``3–5``."""
    return " or more".join(
        "–".join(f"{int(part):,}" if part else "" for part in one.split("_to_")) for one in name.split("_or_more")
    )
