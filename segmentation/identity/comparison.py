"""Where two relations differ, found without comparing their rows one by one.

Belongs here: comparing rows by their hashes. Does not belong here: what is compared (`touched.py`), or what follows
from a difference.
"""

import numpy as np
from numpy.typing import NDArray

from segmentation.identity.components import Integers
from segmentation.warehouse import Connection

#: Keys whose rows share a checksum, as a power of two: small enough that few unchanged rows are compared.
_BUCKET_BITS = 2

Hashes = NDArray[np.uint64]


def find_differing(con: Connection, now: str, then: str, key: str) -> Integers:
    """Return the keys at which two relations don't hold the same rows equally often, in ascending order.

    Hashes of whole rows are summed up by ranges of keys; only rows in ranges whose sums differ are looked at one by
    one. So two relations that are almost equal cost a pass over each.

    Args:
        con: The warehouse.
        now: Query for one relation, with named columns.
        then: Query for the other: the same columns, of the same types.
        key: A column of both; integers that are not negative, as dense as the memory for their largest allows.
    """
    keys_now, hashes_now = _read(con, now, key)
    keys_then, hashes_then = _read(con, then, key)
    highest = max(keys_now.max(initial=0), keys_then.max(initial=0))
    sums = np.zeros((int(highest) >> _BUCKET_BITS) + 1, dtype=np.uint64)
    # Sums wrap around; equal rows still cancel out.
    np.add.at(sums, keys_now >> _BUCKET_BITS, hashes_now)
    np.subtract.at(sums, keys_then >> _BUCKET_BITS, hashes_then)
    differs = sums != 0
    near_now, near_then = differs[keys_now >> _BUCKET_BITS], differs[keys_then >> _BUCKET_BITS]
    keys = np.concatenate([keys_now[near_now], keys_then[near_then]])
    hashes = np.concatenate([hashes_now[near_now], hashes_then[near_then]])
    sides = np.ones(len(keys))
    sides[np.count_nonzero(near_now) :] = -1
    _, kinds = np.unique(hashes, return_inverse=True)
    is_uneven = np.bincount(kinds, weights=sides) != 0
    return np.unique(keys[is_uneven[kinds]])


def _read(con: Connection, rows: str, key: str) -> tuple[Integers, Hashes]:
    found = con.execute(f"select {key} as key, hash(r) as content from ({rows}) as r").fetchnumpy()
    return np.asarray(found["key"], dtype=np.int64), np.asarray(found["content"], dtype=np.uint64)
