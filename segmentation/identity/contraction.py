"""Connected components as plain SQL statements, for engines that outgrow one machine.

Belongs here: the same partition as `components.py`, by randomised contraction, in any dialect. Does not
belong here: which edges are in the graph (`edges.py`, `admission.py`).

Every round each node picks, of itself and its neighbours, the one whose random rank is lowest; the picked
nodes and what joins them are the next, smaller graph (Bögeholz, Brand and Todor, "In-database connected
component analysis", ICDE 2020). Rounds follow the logarithm of the number of nodes, never the length of a
chain, and a table is read by joins and groups alone. Ranks are ``(a · node + b) mod p`` with a prime p and
fresh a and b each round: one to one, so that the lowest rank says which node has it, and pairwise
independent, which the bound on the number of rounds needs.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlglot

from segmentation.errors import StrataError
from segmentation.warehouse import Connection

#: The largest prime whose square fits into 64 bits, sign included: ranks are made of products.
PRIME = 2**31 - 1

#: Rounds are expected to be about 3 log2(nodes) at most, and there are fewer than 2**31 nodes.
_MAX_ROUNDS = 200

Execute = Callable[[str], Sequence[Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class Rank:
    """One round's random order of the nodes."""

    slope: int
    offset: int

    def of(self, node: str) -> str:
        """SQL for the rank of a node."""
        return f"(({self.slope} * {node} + {self.offset}) % {PRIME})"

    def node(self, rank: str) -> str:
        """SQL for the node that has a rank."""
        return f"(({pow(self.slope, -1, PRIME)} * (({rank} + {PRIME - self.offset}) % {PRIME})) % {PRIME})"


def contract(
    execute: Execute,
    edges: str,
    labels: str,
    *,
    scratch: str = "contraction",
    temporary: bool = False,
    seed: int = 1,
    dialect: str = "duckdb",
) -> int:
    """Write table ``labels(node, label)``: of each node that has an edge, the lowest node of its component.

    Every statement creates or drops one table, so an engine keeps no lineage beyond one round. The labels
    do not depend on ``seed``; how many rounds it takes does.

    Args:
        execute: Runs one statement and returns its rows (none where it has none).
        edges: A table ``(node_a, node_b)`` of integers from 0 to 2**31 - 2; repeated edges, both directions
            and loops are welcome.
        labels: Name of the table to create.
        scratch: How the names of tables in between begin; they are gone afterwards.
        temporary: All tables are the session's own; not every engine has such tables.
        seed: Of the random orders.
        dialect: The engine's, as sqlglot calls it.

    Returns:
        The number of rounds.

    Raises:
        StrataError: A node lies outside the range.
    """

    def run(statement: str) -> Sequence[Sequence[Any]]:
        if temporary:
            statement = statement.replace("create table", "create temporary table", 1)
        return execute(sqlglot.transpile(statement, read="duckdb", write=dialect)[0])

    _check_range(run, edges)
    generator = random.Random(seed)  # noqa: S311 - nobody gains by guessing it
    run(
        f"create table {scratch}_edges_0 as select distinct "
        "least(node_a, node_b) as node_a, greatest(node_a, node_b) as node_b "
        f"from {edges} where node_a <> node_b"
    )
    rounds = 0
    while run(f"select count(*) from {scratch}_edges_{rounds}")[0][0]:
        if rounds == _MAX_ROUNDS:
            raise AssertionError("the graph does not get smaller")
        rank = Rank(generator.randrange(1, PRIME), generator.randrange(PRIME))
        _contract_once(run, scratch, rounds, rank)
        rounds += 1
    run(f"drop table {scratch}_edges_{rounds}")
    _write_labels(run, edges, labels, scratch, rounds)
    return rounds


def label_in_engine(con: Connection, edges: str, labels: str, *, seed: int = 1) -> int:
    """Do `contract` in the warehouse's own engine, with temporary tables; return the number of rounds."""
    return contract(lambda statement: con.execute(statement).fetchall(), edges, labels, temporary=True, seed=seed)


def _check_range(run: Execute, edges: str) -> None:
    [(low, high)] = run(f"select min(least(node_a, node_b)), max(greatest(node_a, node_b)) from {edges}")
    if low is not None and (low < 0 or high >= PRIME):
        raise StrataError(
            f"nodes go from {low} to {high}",
            where=edges,
            expected=f"integers from 0 to {PRIME - 1}",
            repair="number the nodes densely, as identity.registry does",
        )


def _contract_once(run: Execute, scratch: str, number: int, rank: Rank) -> None:
    """Write who stands for whom in this round, and the edges between those."""
    edges, picks = f"{scratch}_edges_{number}", f"{scratch}_picks_{number}"
    lowest = rank.node(f"least(min(neighbour_rank), {rank.of('node')})")
    run(
        f"create table {picks} as select node, {lowest} as pick from ("
        f"select node_a as node, {rank.of('node_b')} as neighbour_rank from {edges} union all "
        f"select node_b as node, {rank.of('node_a')} as neighbour_rank from {edges}) as both_ways group by node"
    )
    run(
        f"create table {scratch}_edges_{number + 1} as select distinct "
        "least(a.pick, b.pick) as node_a, greatest(a.pick, b.pick) as node_b "
        f"from {edges} as e join {picks} as a on a.node = e.node_a join {picks} as b on b.node = e.node_b "
        "where a.pick <> b.pick"
    )
    run(f"drop table {edges}")


def _write_labels(run: Execute, edges: str, labels: str, scratch: str, rounds: int) -> None:
    """Follow the picks from the last round back to the first, then name each component by its lowest node."""
    found = f"{scratch}_found_{rounds}"
    run(f"create table {found} as select node_a as node, node_a as pick from {edges} where node_a <> node_a")
    for number in reversed(range(rounds)):
        earlier = f"{scratch}_found_{number}"
        run(
            f"create table {earlier} as select p.node, coalesce(f.pick, p.pick) as pick "
            f"from {scratch}_picks_{number} as p left join {found} as f on f.node = p.pick"
        )
        run(f"drop table {found}")
        run(f"drop table {scratch}_picks_{number}")
        found = earlier
    run(
        f"create table {labels} as select f.node, l.label from {found} as f join "
        f"(select pick, min(node) as label from {found} group by pick) as l on l.pick = f.pick "
        # Nodes whose only edges are loops are components of their own.
        f"union select e.node_a as node, e.node_a as label from {edges} as e "
        f"left join {found} as f on f.node = e.node_a where e.node_a = e.node_b and f.node is null"
    )
    run(f"drop table {found}")
