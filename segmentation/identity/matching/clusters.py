"""From pairs to clusters: which records hang together, once weak bridges between dense groups are taken down.

Belongs here: the density ladder, and the clusters of a table of pairs. Does not belong here: limits of what one
customer may hold (`segmentation/identity/admission.py`), which hold whatever is said here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentation.identity.components import Integers, label_components

Reals = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ladder:
    """How clusters that are held together loosely are taken apart.

    Records of one person resemble each other nearly all; two persons who were taken for one are two dense groups and
    a few pairs between them. A cluster in which fewer than ``density`` of all pairs are joined loses its weakest
    pairs, one bit of match weight after the other, until it is dense or falls apart.

    Attributes:
        start: Match weight (bits) that a pair needs at all.
        density: Joined share of a cluster's pairs that is enough; 0 switches the ladder off.
        least_size: Smaller clusters are left alone.
        step: Bits per rung.
        rungs: How far up the ladder goes.
    """

    start: float = 0.0
    density: float = 0.5
    least_size: int = 4
    step: float = 1.0
    rungs: int = 16


def climb(node_a: Integers, node_b: Integers, weight: Reals, ladder: Ladder) -> NDArray[np.bool_]:
    """Return which pairs remain.

    Args:
        node_a: One end of each pair; a pair stands there once.
        node_b: The other end.
        weight: Match weight of each pair, in bits.
        ladder: How.
    """
    remains = weight >= ladder.start
    if not ladder.density:
        return remains
    # Pairs of clusters that may be sparse; the others are never looked at again.
    open_pairs = np.flatnonzero(remains)
    for rung in range(1, ladder.rungs + 1):
        nodes, codes = np.unique(np.concatenate([node_a[open_pairs], node_b[open_pairs]]), return_inverse=True)
        a, b = codes[: len(open_pairs)], codes[len(open_pairs) :]
        labels = label_components(len(nodes), a, b)
        sizes = np.bincount(labels)
        pairs = np.bincount(labels[a], minlength=len(sizes))
        sparse = (sizes >= ladder.least_size) & (pairs < ladder.density * sizes * (sizes - 1) / 2)
        open_pairs = open_pairs[sparse[labels[a]]]
        if not len(open_pairs):
            break
        weak = weight[open_pairs] < ladder.start + rung * ladder.step
        remains[open_pairs[weak]] = False
        open_pairs = open_pairs[~weak]
    return remains


def cluster(node_count: int, node_a: Integers, node_b: Integers, weight: Reals, ladder: Ladder) -> Integers:
    """Return the cluster of each node."""
    remains = climb(node_a, node_b, weight, ladder)
    return label_components(node_count, node_a[remains], node_b[remains])
