"""A town whose people are known to several sources, with errors: what matching runs over in tests."""

from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from benchmarks.matching_world import write_people
from segmentation.identity.matching.candidates import Matching

START = datetime(2026, 10, 1)

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
