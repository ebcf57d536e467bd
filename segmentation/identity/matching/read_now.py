"""What people said of pairs, by the identifiers that stand for their records now.

Belongs here: reading labels and samples once the catalog names the provider of an address. Does not belong here: what
is done with them (`labels.py`, `links.py`). Tables keep what was said as it was said: where the catalog forgets a
provider again, labels are about the addresses that people saw.
"""

from segmentation.identity.email_providers import EmailProvider, Providers, mailbox_expression


def read_labels(providers: Providers) -> str:
    """Return the SQL of the labels that hold, one per pair: ``identity.match_labels`` by the nodes of now.

    Where two pairs became one, what was said last holds. A pair that is a single identifier now has one node twice.
    """
    known = tuple(providers)
    if not known:
        return "identity.match_labels"
    return (
        f"(from {_by_mailbox('identity.match_labels', known)} "
        "qualify row_number() over (partition by node_a, node_b order by label_seq desc) = 1)"
    )


def read_samples(providers: Providers) -> str:
    """Return the SQL of ``identity.match_samples`` by the nodes of now."""
    known = tuple(providers)
    return _by_mailbox("identity.match_samples", known) if known else "identity.match_samples"


def said_of(node_a: int, node_b: int, providers: Providers) -> str:
    """Return the SQL of the ``label_seq`` of everything that was said of a pair, also under former addresses."""
    known = tuple(providers)
    said = _by_mailbox("identity.match_labels", known) if known else "identity.match_labels"
    return f"select label_seq from {said} where node_a = {node_a} and node_b = {node_b}"


def _by_mailbox(table: str, providers: tuple[EmailProvider, ...]) -> str:
    """Return the SQL of a table of pairs with every address replaced by the mailbox that it reaches."""
    addresses = "(from identity.registry where id_type = 'email')"
    stands_for = (
        "(select said.node_id, now.node_id as stands_in "
        f"from (from {addresses} where node_id in (select unnest([node_a, node_b]) from {table})) as said "
        f"join {addresses} as now on now.id_value = {mailbox_expression('said.id_value', providers)})"
    )
    one, other = "coalesce(a.stands_in, t.node_a)", "coalesce(b.stands_in, t.node_b)"
    return (
        f"(select t.* replace (least({one}, {other}) as node_a, greatest({one}, {other}) as node_b) "
        f"from {table} as t left join {stands_for} as a on a.node_id = t.node_a "
        f"left join {stands_for} as b on b.node_id = t.node_b)"
    )
