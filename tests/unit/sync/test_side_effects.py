"""What a rollback of membership does not take back: who was told, who was invoiced, what it cost."""

from datetime import timedelta

from segmentation.contracts import ensure_schema
from segmentation.segments.moments import Moment
from segmentation.sync.side_effects import Invoiced, list_side_effects

from .conftest import AS_OF, Company, insert


def publish_members(company: Company, seq: int, run_id: str, *entering: str) -> Moment:
    """Record a publication that lets customers into the segment ``risky``."""
    as_of = AS_OF + timedelta(days=seq)
    recorded_at = as_of + timedelta(hours=5)
    insert(
        company.con,
        "segments.publications",
        publication_seq=seq,
        run_id=run_id,
        as_of=as_of,
        recorded_at=recorded_at,
    )
    for number, customer_id in enumerate(entering):
        insert(
            company.con,
            "segments.membership_changes",
            change_seq=100 * seq + number,
            customer_id=customer_id,
            segment_key="risky",
            change="enter",
            run_id=run_id,
        )
        insert(company.con, "segments.membership", customer_id=customer_id, segment_key="risky", segment_version=1)
    return Moment(seq, as_of, recorded_at, 1, None)


def effects(company: Company, moment: Moment):
    return list_side_effects(company.con, company.state_url, "risky", moment)


def test_destinations_are_told_of_as_many_as_the_log_names(company: Company) -> None:
    before = publish_members(company, 1, "run-1")
    company.sync()
    assert effects(company, before).deliveries == ()
    publish_members(company, 2, "run-2", "c_0", "c_2")
    company.sync()
    # Somebody else's change is written as well, and told of nobody concerned.
    company.member("c_9", "vip")
    company.sync()
    found = effects(company, before)
    assert found.affected == 2
    [store] = [one for one in found.deliveries if one.destination == "online_store"]
    assert (store.deliveries, store.affected_told, store.rows_written) == (2, 2, 3)
    # After the later publication nothing more happened because of the segment.
    later = effects(company, Moment(2, AS_OF + timedelta(days=2), AS_OF + timedelta(days=2, hours=5), 1, None))
    assert (later.affected, [one.affected_told for one in later.deliveries]) == (0, [0])


def test_a_destination_that_does_not_get_the_segment_is_not_named(company: Company) -> None:
    company.change_destination("online_store", segments=["vip", "standard"])
    before = publish_members(company, 1, "run-1")
    company.sync()
    publish_members(company, 2, "run-2", "c_0")
    company.member("c_9", "vip")
    company.sync()
    assert "online_store" not in {one.destination for one in effects(company, before).deliveries}


def test_invoices_of_their_accounts_and_costs_of_the_segment(company: Company) -> None:
    before = publish_members(company, 1, "run-1")
    publish_members(company, 2, "run-2", "c_0", "c_2")
    ensure_schema(company.con, "costs")
    company.con.execute(
        """
        create schema sources;
        create table sources.invoices as select * from (values
            ('crm', 'i_1', 'a_0', 'open', 10, 'EUR', timestamp '2026-11-05', timestamp '2026-11-05'),
            ('crm', 'i_1', 'a_0', 'paid', 12, 'EUR', timestamp '2026-11-05', timestamp '2026-11-06'),
            ('crm', 'i_2', 'a_0', 'void', 50, 'EUR', timestamp '2026-11-05', timestamp '2026-11-05'),
            ('crm', 'i_3', 'a_0', 'paid', 50, 'EUR', timestamp '2026-10-05', timestamp '2026-10-05'),
            ('crm', 'i_4', 'a_9', 'paid', 50, 'EUR', timestamp '2026-11-05', timestamp '2026-11-05')
        ) as t (source, invoice_id, account_id, invoice_status, amount_micros, currency, issued_at, updated_at)
        """
    )
    for customer_id, account_id in (("c_0", "a_0"), ("c_2", "a_0"), ("c_9", "a_9")):
        insert(company.con, "identity.customer_accounts", customer_id=customer_id, account_id=account_id)
    for day, key, view, micros in (
        (1, "risky", "exclusive", 1),
        (5, "risky", "exclusive", 7),
        (5, "risky", "full", 100),
        (5, "vip", "exclusive", 100),
    ):
        insert(
            company.con,
            "costs.allocations",
            incurred_date=(AS_OF + timedelta(days=day - 1)).date(),
            segment_key=key,
            allocation_view=view,
            allocated_effective_micros=micros,
        )
    found = effects(company, before)
    assert found.invoices == (Invoiced("EUR", 1, 12, 1),)
    assert found.cost_micros == 7
