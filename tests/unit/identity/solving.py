"""Solving everything anew and what changed alone, and deciding as commands do: what tests of both compare by."""

from contextlib import suppress

from segmentation.erasure.erase import Request, erase
from segmentation.errors import StrataError
from segmentation.identity.candidate import build_candidate
from segmentation.identity.catalog import IdentityCatalog
from segmentation.identity.matching.labels import Pair, add_label, end_label
from segmentation.identity.operator_rules import read_rules
from segmentation.identity.publish import publish
from segmentation.identity.rule_book import Draft, Signature, add_rule, end_rule
from segmentation.identity.tables import DIFFERENTIAL, definitions
from segmentation.pseudonyms import PseudonymKey
from segmentation.warehouse import transaction

_TABLES = {
    "identifier_map": "node_id",
    "customers": "customer_id",
    "customer_aliases": "old_customer_id",
    "edges": "node_a, node_b, source, evidence",
    "events": "seq",
    "identifiers": "node_id",
    "identifier_lookup": "id_type, id_namespace, raw_value",
    "profiles": "customer_id",
    "customer_consents": "customer_id, purpose",
    "solve_inputs": "kind, node_a, node_b, detail",
}
#: Figures of the work that was done, not of its result.
_OF_THE_WORK = "identifiers_resolved, edges_tried_singly, new_values, values_by_python, new_identifiers"


KEY = PseudonymKey("suppression-v1", b"k" * 32)


def limited(catalog, max_nodes, degree, providers=()):
    device = catalog.rules.identifiers["device_id"].model_copy(update={"degree_limits": {"user_id": degree}})
    types = {**catalog.rules.identifiers, "device_id": device}
    told = {"max_nodes": max_nodes, "identifiers": types, "email_providers": providers}
    return IdentityCatalog(catalog.rules.model_copy(update=told), catalog.purposes)


def snapshot(world):
    # What stays as it was keeps the stamps of the run that wrote it.
    tables = {}
    for name, order in _TABLES.items():
        stamps = "exclude (run_id, recorded_at)" if name in DIFFERENTIAL and "run_id" in definitions()[name] else ""
        tables[name] = world.rows(f"select * {stamps} from identity.candidate_{name} order by {order}")
    known = {row[0] for row in world.rows("describe identity.candidate")}
    out = ", ".join(name for name in _OF_THE_WORK.split(", ") if name in known)
    return {**tables, "figures": world.rows(f"select * exclude ({out}) from identity.candidate")}


def build_both(world, run, catalog, matching=None):
    """Build everything anew, then what changed; return both, and how much the second resolved."""
    build_candidate(world.con, run, catalog, full=True, matching=matching)
    full = snapshot(world)
    report = build_candidate(world.con, run, catalog, matching=matching)
    return full, snapshot(world), report.facts["identifiers_resolved"]


def decide(world, run, what, first, second):
    """Decide as a command would; what the rule book refuses is not decided."""
    signed = Signature("jo", "case 7", run.recorded_at)
    nodes = [row[0] for row in world.rows("select node_id from identity.identifiers order by all")]
    rules = [rule.rule_id for rule in read_rules(world.con)]
    people = [row[0] for row in world.rows("select customer_id from identity.customers order by all")]
    if not nodes:
        return
    one, other = nodes[first % len(nodes)], nodes[second % len(nodes)]
    drafts = {
        "must_link": Draft("must_link", nodes=(one, other)),
        "must_not_link": Draft("must_not_link", nodes=(one,), other_nodes=(other,)),
        "block_value": Draft("block_value", nodes=(one,)),
        "limit": Draft("max_per_customer", id_type="device_id", limit_value=1 + second % 3),
    }
    pair = Pair(*sorted((one, other)))
    with suppress(StrataError):
        if what == "guess" and one != other:
            guess(world, run, pair, 0.999 + (first + second) / 100_000)
        elif what in ("match", "no_match") and one != other:
            with transaction(world.con):
                add_label(world.con, pair, what, signed)
        elif what == "unlabel":
            for a, b in world.rows("select node_a, node_b from identity.match_labels order by all limit 1"):
                with transaction(world.con):
                    end_label(world.con, Pair(a, b), signed)
        elif what == "erase" and people:
            erase(world.con, world.catalog.rules, KEY, Request(people[first % len(people)], "dpo", "T-1", run.as_of))
        elif what == "undo" and rules:
            with transaction(world.con):
                end_rule(world.con, rules[first % len(rules)], signed)
        elif what in drafts:
            with transaction(world.con):
                add_rule(world.con, world.catalog.rules, drafts[what], signed)


def guess(world, run, pair, probability):
    """Let two records look alike, as likely as said."""
    con, named = world.con, {"a": pair.node_a, "b": pair.node_b}
    con.execute("delete from identity.match_candidates where node_a = $a and node_b = $b", named)
    con.execute(
        "insert into identity.match_candidates values ($a, $b, -log2(1 - $p), $p, 1, [], 'review', $at, 'run', $at)",
        {**named, "p": probability, "at": run.recorded_at},
    )


def resolve_both(world, run, catalog, matching=None):
    full, incremental, resolved = build_both(world, run, catalog, matching)
    assert incremental == full
    publish(world.con, run)
    return resolved


def place_of(world, value):
    """The place of an identifier among all."""
    return world.rows(_PLACE.format(value))[0][0]


_PLACE = (
    "select count(*) from identity.identifiers where node_id < "
    "(select node_id from identity.identifiers where id_value = '{}')"
)
