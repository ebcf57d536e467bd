"""The state of identity: exported at every publish, and brought back.

Belongs here: the tables whose loss would change customer ids or their history. Does not belong here:
tables that the next run makes anew (edges, lookup, consents, profiles), and how exports work (`state_exports.py`).
"""

from pathlib import Path

from segmentation.run import Run
from segmentation.state_exports import State
from segmentation.warehouse import Connection

#: Tables of the state; together they are consistent because one publish wrote them.
STATE_TABLES = (
    "registry",
    "former_nodes",
    "identifiers",
    "customers",
    "identifier_map",
    "identifier_map_history",
    "customer_aliases",
    "events",
    "rules",
    "publications",
    "acknowledgements",
    "suppressions",
    "match_labels",
    "match_samples",
)

#: Tables that follow from the state and the sources; restoring empties them, the next run fills them.
_DERIVED_TABLES = (
    "normalised_values",
    "normalisation",
    "sightings",
    "sighting_kinds",
    "readings",
    "edges",
    "solve_inputs",
    "identifier_lookup",
    "customer_accounts",
    "customer_consents",
    "profiles",
    "profile_conflicts",
    "match_records",
    "match_basis",
    "match_candidates",
    "attributions",
)

_STATE = State("identity", "the identity state", STATE_TABLES, _DERIVED_TABLES)


def export_state(con: Connection, folder: Path, run: Run, *, keep: int = 5) -> Path:
    """Write the published state to a folder of its own below ``folder``; see ``State.export``."""
    return _STATE.export(con, folder, run, keep=keep)


def restore_state(con: Connection, folder: Path) -> dict[str, int]:
    """Bring the state back from an export, or from the newest one in ``folder``; see ``State.restore``."""
    return _STATE.restore(con, folder)
