"""Who uses a segment outside of segments: cost pools and destinations.

Belongs here: putting together what two later stages name, for the stage that decides. Does not belong here: the names
within segments, and what follows from a use (`segmentation/segments/usages.py`).
"""

from collections.abc import Callable, Iterator

from assets.sync import read_destinations
from orchestration.settings import Settings
from segmentation.costs.pools import load_pools
from segmentation.errors import StrataError
from segmentation.segments.usages import Usage
from segmentation.sync.catalog import listed_segments
from segmentation.warehouse import Connection, table_exists


def read_usages(con: Connection, settings: Settings) -> list[Usage]:
    """Return every place in cost pools and destinations that names a segment.

    Where such a file has errors nobody knows whom a segment that goes would be missed by, so every live one counts as
    used there. The errors are for the file's own stage to tell.

    Args:
        con: The warehouse, or a copy of it.
        settings: The installation.
    """
    found: list[Usage] = []
    sources: dict[str, Callable[[Settings], Iterator[Usage]]] = {
        "cost_pools.yml": _pools,
        "destinations.yml": _destinations,
    }
    for file, read in sources.items():
        try:
            found += read(settings)
        except StrataError:
            what, where = "perhaps a file that has errors: strata validate", f"{settings.catalog.name}/{file}"
            found += [Usage(key, what, where) for key in _live_keys(con)]
    return found


def _pools(settings: Settings) -> Iterator[Usage]:
    pools = load_pools(settings.catalog / "cost_pools.yml")
    for key, place in pools.named_segments.items():
        yield Usage(key, "a cost pool", pools.where(place))


def _destinations(settings: Settings) -> Iterator[Usage]:
    for destination in read_destinations(settings):
        yield from (Usage(*one) for one in listed_segments(destination))


def _live_keys(con: Connection) -> list[str]:
    if not table_exists(con, "segments", "catalog"):
        return []
    return [key for (key,) in con.execute("select segment_key from segments.catalog order by 1").fetchall()]
