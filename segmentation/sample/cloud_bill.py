"""The bills of the company's cloud provider, in the columns of FOCUS 1.2.

Belongs here: feed `cloud_bill` (CSV.gz, one file a month): compute, database, storage, network, support,
tax, a commitment with an unused part, a credit; tags on some, one of them mistyped; and one month's bill
delivered again with changed costs and corrections. Does not belong here: who caused the cost (that is the
costs stage's work).

Amounts are drawn as whole nano-units (10⁻⁹ of the currency), so that sums are exact.
"""

from dataclasses import dataclass

from segmentation.sample.incidents import restated_month
from segmentation.sample.world import World
from segmentation.sample.writer import Landing

_NANO = 1_000_000_000
_TAX_PER_MILLE = 70


@dataclass(frozen=True, slots=True)
class _Line:
    """A resource that is billed every day.

    Attributes:
        category: FOCUS ServiceCategory.
        service: FOCUS ServiceName.
        sku: FOCUS SkuId.
        unit: What is metered.
        tag: Value of the tag ``segment``; empty for none.
        cents_per_thousand: List cost of a day for a thousand customers.
    """

    category: str
    service: str
    sku: str
    unit: str
    tag: str
    cents_per_thousand: int


_LINES = (
    _Line("Compute", "Container Platform", "cpu-shared", "vCPU-Hours", "", 2600),
    _Line("Compute", "Container Platform", "cpu-gateway", "vCPU-Hours", "", 1900),
    _Line("Compute", "Container Platform", "cpu-dedicated", "vCPU-Hours", "vip", 900),
    _Line("Compute", "Functions", "invocations", "Requests", "", 350),
    _Line("Compute", "Functions", "invocations-vip", "Requests", "vpi", 120),
    _Line("Databases", "Managed Database", "db-primary", "Hours", "", 1500),
    _Line("Databases", "Managed Database", "db-replica", "Hours", "", 800),
    _Line("Storage", "Object Storage", "storage-standard", "GB-Months", "", 420),
    _Line("Storage", "Object Storage", "storage-archive", "GB-Months", "", 60),
    _Line("Networking", "Content Delivery", "egress", "GB", "", 310),
    _Line("Other", "Business Support", "support-business", "Days", "", 280),
)

#: What the commitment costs a day, for a thousand customers.
_COMMITTED_CENTS_PER_THOUSAND = 1200


def write_cloud_bill(world: World, landing: Landing) -> None:
    """Write the bill of each month that the period touches, and one of them again."""
    _draw_charges(world)
    _draw_restated(world)
    restated = restated_month(world)
    for (month,) in world.con.execute("select distinct month from charges order by month").fetchall():
        name, bill = f"focus_{month:%Y%m}", _query("charges", f"month = date '{month}'")
        landing.write_csv("cloud_bill", name, bill, gzipped=True)
        if month == restated:
            landing.write_csv("cloud_bill", f"{name}_restated", _query("restated", "true"), gzipped=True)
    for kind in ("unparsable", "missing_required"):
        world.plant(kind, "charges", 1)
    changed = "select count(*) from restated join charges using (charge_id) where restated.nano <> charges.nano"
    world.plant("changed_content", "charges", world.number(changed))
    world.plant("exact_duplicate", "charges", world.number(changed.replace("<>", "=")))


def restatement_nano(world: World) -> int:
    """Return by how much the second delivery changed the month's effective cost, in nano-units."""
    month = restated_month(world)
    first = f"select sum(effective_nano) from charges where month = date '{month}'"
    return world.number(f"select ((select sum(effective_nano) from restated) - ({first}))::bigint")


def _draw_charges(world: World) -> None:
    values = ", ".join(
        f"({n}, '{line.category}', '{line.service}', '{line.sku}', '{line.unit}', '{line.tag}', "
        f"{line.cents_per_thousand * _NANO // 100 * world.customers // 1000})"
        for n, line in enumerate(_LINES)
    )
    committed = _COMMITTED_CENTS_PER_THOUSAND * _NANO // 100 * world.customers // 1000
    world.run(
        f"""
        create or replace table charges as
        with days as (
            select range as day, date '{world.start}' + range::integer as bill_day,
                date_trunc('month', bill_day)::date as month
            from range({world.days})
        ),
        months as (
            select month, min(bill_day) as first_day, max(bill_day) as last_day, count(*) as day_count
            from days group by month
        ),
        lines as (
            select * from (values {values}) as t (line, category, service, sku, unit, tag, base_nano)
        ),
        usage as (
            select month, bill_day, bill_day + 1 as end_day, 'Usage' as charge_category, category, service, sku, unit,
                tag, null::varchar as commitment_status,
                (base_nano * (850 + below(day * 64 + line, 'cost of a day', 300)) // 1000)::bigint as list_nano,
                list_nano * 9 // 10 as nano, nano as effective_nano, line as line_no
            from days cross join lines
        ),
        committed as (
            select month, bill_day, bill_day + 1, 'Usage', 'Compute', 'Container Platform', 'cpu-committed',
                'vCPU-Hours', '', status, part_nano * 10 // 7, 0, part_nano, 20 + (status = 'Unused')::integer
            from (
                select *, 700 + below(day, 'commitment used', 250) as used_per_mille,
                    unnest(['Used', 'Unused']) as status,
                    case status when 'Used' then {committed} * used_per_mille // 1000
                        else {committed} - {committed} * used_per_mille // 1000 end as part_nano
                from days
            )
        ),
        purchases as (
            select month, first_day, last_day + 1, 'Purchase', 'Compute', 'Container Platform', 'savings-plan-1y',
                'Hours', '', null, {committed} * day_count, {committed} * day_count, 0, 30
            from months
        ),
        credits as (
            select month, last_day, last_day + 1, 'Credit', 'Compute', 'Container Platform', 'promotional-credit',
                'Units', '', null, 0, -{committed} * day_count // 20, -{committed} * day_count // 20, 31
            from months
        ),
        taxes as (
            select month, max(bill_day), max(bill_day) + 1, 'Tax', 'Other', 'Tax', 'vat', 'Units', '', null,
                0, (sum(nano) * {_TAX_PER_MILLE} // 1000)::bigint, (sum(nano) * {_TAX_PER_MILLE} // 1000)::bigint, 32
            from usage group by month
        ),
        everything as (
            select * from usage union all select * from committed union all select * from purchases
            union all select * from credits union all select * from taxes
        )
        select *, null::varchar as charge_class,
            'CH-' || strftime(bill_day, '%Y%m%d') || '-' || lpad(line_no::varchar, 2, '0') as charge_id
        from everything
        """
    )


def _draw_restated(world: World) -> None:
    # One compute charge in six was metered wrongly; three corrections come as rows of their own.
    month = restated_month(world)
    world.run(
        f"""
        create or replace table restated as
        select * replace (
            case when is_changed then nano * 112 // 100 else nano end as nano,
            case when is_changed then effective_nano * 112 // 100 else effective_nano end as effective_nano
        )
        from (
            select *, category = 'Compute' and line_no < 5
                and below(day(bill_day) * 64 + line_no, 'restated', 6) = 0
                or (line_no = 0 and bill_day = last_day) as is_changed
            from (select *, max(bill_day) over () as last_day from charges where month = date '{month}')
        )
        """
    )
    world.run("alter table restated drop column is_changed")
    world.run("alter table restated drop column last_day")
    world.run(
        """
        insert into restated
        select * replace (
            'Correction' as charge_class, 'COR-' || charge_id as charge_id, 0 as list_nano,
            -nano // 10 as nano, -effective_nano // 10 as effective_nano
        )
        from (select * from restated where category = 'Databases' order by bill_day, line_no limit 3)
        """
    )


def _money(column: str) -> str:
    """Write whole nano-units as a decimal number."""
    return (
        f"case when {column} < 0 then '-' else '' end || (abs({column}) // {_NANO})::varchar || '.' "
        f"|| lpad((abs({column}) % {_NANO})::varchar, 9, '0')"
    )


def _query(table: str, condition: str) -> str:
    # The first file also holds a row without a category and one with words for a number.
    form = "'%Y-%m-%dT00:00:00Z'"
    broken = "select month from charges order by month limit 1"
    return f"""
    select
        {_money("nano")} as "BilledCost",
        'BA-7781' as "BillingAccountId",
        'Strata Sample Retail' as "BillingAccountName",
        'USD' as "BillingCurrency",
        strftime(month + interval 1 month, {form}) as "BillingPeriodEnd",
        strftime(month, {form}) as "BillingPeriodStart",
        case when copy = 1 then null else charge_category end as "ChargeCategory",
        charge_class as "ChargeClass",
        service || ' ' || sku as "ChargeDescription",
        case charge_category when 'Usage' then 'Usage-Based' when 'Purchase' then 'Recurring' else 'One-Time' end
            as "ChargeFrequency",
        strftime(end_day, {form}) as "ChargePeriodEnd",
        strftime(bill_day, {form}) as "ChargePeriodStart",
        case when commitment_status is not null then 'Spend' end as "CommitmentDiscountCategory",
        case when commitment_status is not null or charge_category = 'Purchase' then 'SP-0042' end
            as "CommitmentDiscountId",
        commitment_status as "CommitmentDiscountStatus",
        case when charge_category = 'Usage' and commitment_status is distinct from 'Unused'
            then {_money("list_nano // 5")} end as "ConsumedQuantity",
        case when charge_category = 'Usage' and commitment_status is distinct from 'Unused' then unit end
            as "ConsumedUnit",
        {_money("greatest(nano, effective_nano)")} as "ContractedCost",
        case when copy = 2 then 'pending' else {_money("effective_nano")} end as "EffectiveCost",
        'INV-' || strftime(month, '%Y%m') as "InvoiceId",
        'Nimbus Cloud' as "InvoiceIssuerName",
        {_money("list_nano")} as "ListCost",
        case when commitment_status is not null then 'Committed' else 'Standard' end as "PricingCategory",
        {_money("list_nano // 5")} as "PricingQuantity",
        unit as "PricingUnit",
        'Nimbus Cloud' as "ProviderName",
        'Nimbus Cloud' as "PublisherName",
        case when charge_category = 'Usage' then 'eu-central-1' end as "RegionId",
        case when charge_category = 'Usage' then 'res/' || sku end as "ResourceId",
        category as "ServiceCategory",
        service as "ServiceName",
        sku as "SkuId",
        '{{"team":"platform"' || case tag when '' then '' else ',"segment":"' || tag || '"' end || '}}' as "Tags",
        case when copy > 0 then 'BAD-' || copy || '-' else '' end || charge_id as "x_ChargeId"
    from (
        select *, 0 as copy from {table} where {condition}
        union all
        select *, unnest([1, 2]) from (
            select * from {table} where {condition} and '{table}' = 'charges' and month = ({broken})
            order by charge_id limit 1
        )
    )
    order by bill_day, line_no, charge_id, copy
    """
