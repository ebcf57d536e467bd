"""A town whose people are known to several sources, with errors: what matching runs over in tests."""

from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from benchmarks.matching_world import write_people
from segmentation.identity.candidate import build_candidate
from segmentation.identity.matching.candidates import Matching
from segmentation.identity.matching.labels import Pair, add_label, end_label
from segmentation.identity.publish import publish
from segmentation.identity.rule_book import Signature
from segmentation.warehouse import transaction

START = datetime(2026, 10, 1)

SIGNED = Signature("jo", "case 12", START)

ANNA = {"first_name": "Annegret", "last_name": "Kesselring", "birth_date": "1961-04-17", "postal_code": "LE4 7QX"}
#: The same person as another source spells her.
ANNA_AGAIN = ANNA | {"last_name": "Keselring"}

#: Columns of records that the town fills.
_COLUMNS = "first_name, last_name, birth_date, city, postal_code"


@cache
def _people(records: int) -> pa.Table:
    with duckdb.connect() as own:
        write_people(own, records, seed=5)
        return own.sql(
            "select record_id, person, try_cast(birth_date as date) as birth_date, * exclude (record_id, person, "
            "birth_date), row_number() over (partition by person order by record_id) as place from people"
        ).to_arrow_table()


def settle(world: Any, records: int) -> None:
    """Add customer records; those of one person come from different sources, and no identifier links them."""
    world.con.register("town", _people(records))
    world.con.execute(
        f"insert into sources.customer_records by name select 'source' || place as source, "
        f"'T' || record_id as source_customer_id, {_COLUMNS}, timestamp '{START}' as updated_at, "
        "1 as file_id, record_id + 1000 as line, 'load' as run_id, now()::timestamp as recorded_at from town"
    )
    world.con.unregister("town")


def with_automatic(matching: Matching, **changes: Any) -> Matching:
    """Return matching with other rules for automatic links."""
    automatic = matching.definition.automatic.model_copy(update=changes)
    return replace(matching, definition=matching.definition.model_copy(update={"automatic": automatic}))


def resolve(world, run, matching):
    report = build_candidate(world.con, run, world.catalog, matching=matching)
    publish(world.con, run)
    return report


def pair_of(world, a="A1", b="A2"):
    return Pair(*sorted((world.node(a), world.node(b))))


def label(world, verdict, pair=None):
    with transaction(world.con):
        return add_label(world.con, pair or pair_of(world), verdict, SIGNED)


def unlabel(world, pair=None):
    with transaction(world.con):
        end_label(world.con, pair or pair_of(world), SIGNED)


def state_of(world, pair=None):
    pair = pair or pair_of(world)
    return world.rows(
        f"select state from identity.match_candidates where node_a = {pair.node_a} and node_b = {pair.node_b}"
    )


def edges_of(world):
    return world.rows(
        "select node_a, node_b, evidence, tier, admitted, reject_rule from identity.edges where source = 'matching' "
        "order by all"
    )
