"""Where matching works: a database of its own in memory, so that no table of raw values is left in the warehouse.

Belongs here: handing records over, and training. Does not belong here: how it is done (`training.py`), or what is
compared (`candidates.py`). The warehouse may be in a transaction, in which no other attached database can be written;
what leaves the workshop is parameters, node ids and weights.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import duckdb

from segmentation.contracts import ensure_schema, latest_candidate
from segmentation.errors import StrataError
from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.matching.catalog import MatchingDefinition
from segmentation.identity.matching.model import MatchingModel, model_of
from segmentation.identity.matching.model_files import save_model
from segmentation.identity.matching.records import write_records
from segmentation.identity.matching.training import learn
from segmentation.run import Run
from segmentation.warehouse import Connection, literal

#: Rows that are handed over at once.
_BATCH = 100_000


@contextmanager
def workshop(con: Connection, relation: str) -> Iterator[Connection]:
    """Yield a database with table ``records``, a copy of a relation of the warehouse; it is gone afterwards.

    It may use as much memory and as many threads as the warehouse, and spills to a folder beside where that one does.
    """
    [(memory, threads, spill)] = con.execute(
        "select current_setting('memory_limit'), current_setting('threads'), current_setting('temp_directory')"
    ).fetchall()
    # Splink tells of every step; what goes wrong is raised.
    logging.getLogger("splink").setLevel(logging.ERROR)
    with duckdb.connect() as own:
        own.execute(f"set memory_limit = {literal(memory)}; set threads = {int(threads)}")
        own.execute(f"set temp_directory = {literal(spill + '/matching')}")
        own.execute("set enable_progress_bar = false")
        hand_over(con, f"select * from {relation}", own, "records")
        yield own


def hand_over(giver: Connection, query: str, taker: Connection, target: str) -> None:
    """Write temporary table ``target`` in one database with what a query says in another, batch by batch."""
    taker.register("handed_over", giver.sql(query).to_arrow_reader(_BATCH))
    taker.execute(f"create or replace temp table {target} as select * from handed_over")
    taker.unregister("handed_over")


def train_version(
    con: Connection, rules: IdentifierRules, definition: MatchingDefinition, folder: Path, *, at: datetime
) -> tuple[Path, MatchingModel]:
    """Learn a model from the records as of what is published, and write it as the next version.

    Args:
        con: The warehouse, open for writing; temporary tables are made in it.
        rules: Give the order of the types of identifiers.
        definition: Says what records are, and the seed.
        folder: Where models are.
        at: When it is trained.

    Returns:
        The file and the model. Where the newest version decides the same scores, it is that one.

    Raises:
        StrataError: Nothing has been published, or there is too little to learn from.
    """
    ensure_schema(con, "identity")
    served = latest_candidate(con, "identity", published=True)
    if served is None:
        raise StrataError(
            "no model can be learned: identity has not been published",
            where="ops.candidates",
            expected="a run that published who is who",
            repair="strata run, then strata matching train",
        )
    return save_model(train(con, Run("training", served.as_of, at), rules, definition), folder)


def train(con: Connection, run: Run, rules: IdentifierRules, definition: MatchingDefinition) -> MatchingModel:
    """Learn a model from the records as of a moment; it has no number yet.

    Args:
        con: The warehouse after a publication, open for writing; temporary tables are made in it.
        run: Rows after its ``as_of`` are not seen.
        rules: Give the order of the types of identifiers.
        definition: Says what records are, and the seed.

    Raises:
        StrataError: There is too little to learn from.
    """
    write_records(con, run, rules, definition, "match_taught")
    try:
        with workshop(con, "match_taught") as own:
            customers = (
                "select node_id as record_id, customer_id as holder from identity.identifier_map "
                "where node_id in (select record_id from match_taught)"
            )
            hand_over(con, customers, own, "holders")
            learned = learn(own, "records", definition.attributes, seed=definition.seed, holders="holders")
    finally:
        con.execute("drop table match_taught")
    return model_of(learned, {"as_of": f"{run.as_of}", "trained_at": f"{run.recorded_at}", "seed": definition.seed})
