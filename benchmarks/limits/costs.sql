-- Usage by customer and day, counted by identifiers before anybody is looked up.
create temp table used as
with requests as (
    select user_id, account_id, occurred_at::date as day, count(*) as requests,
        sum(greatest(round(coalesce(compute_ms, 0) * 1000)::bigint, 0)) as compute_us
    from house.sources.requests where occurred_at <= $as_of group by all
),
events as (
    select user_id, email, device_id, anonymous_id, occurred_at::date as day, count(*) as events
    from house.sources.events where occurred_at <= $as_of group by all
),
orders as (
    select source, source_customer_id, user_id, email, phone, ordered_at::date as day, count(*) as orders
    from ({orders_now}) where ordered_at <= $as_of group by all
),
owners as (
    select account_id, arg_min(customer_id, (coalesce(lower(role) <> 'owner', true), customer_id)) as customer_id
    from house.identity.customer_accounts where valid_from <= $as_of and (valid_to is null or valid_to > $as_of)
    group by 1
)
select customer_id, day, sum(requests)::bigint as requests, sum(compute_us)::bigint as compute_us,
    sum(events)::bigint as events, sum(orders)::bigint as orders
from (
    select coalesce({requests_customer}, owners.customer_id) as customer_id, day, requests, compute_us,
        0 as events, 0 as orders
    from requests as r {requests_joins} left join owners on owners.account_id = r.account_id
    union all
    select {events_customer}, day, 0, 0, events, 0 from events as r {events_joins}
    union all
    select {orders_customer}, day, 0, 0, 0, orders from orders as r {orders_joins}
)
group by all;

create temp table placed as
select 'exclusive' as allocation_view, customer_id, segment_key
from house.segments.effective where group_key = 'tier'
union all
select 'full', customer_id, segment_key from house.segments.membership;

create table drivers_daily as
with counted as (
    select v.allocation_view, u.day,
        case when u.customer_id is null then '__unattributed__' else coalesce(p.segment_key, '__no_segment__') end
            as segment_key,
        sum(requests) as requests, sum(compute_us) as compute_ms, sum(events) as events, sum(orders) as orders
    from used as u
    cross join (select unnest(['exclusive', 'full']) as allocation_view) as v
    left join placed as p on p.allocation_view = v.allocation_view and p.customer_id = u.customer_id
    group by all
),
joined as (
    select p.allocation_view, p.segment_key, c.first_seen_at::date as day, count(*) as n
    from placed as p join house.identity.customers as c using (customer_id) group by all
),
members as (
    select j.allocation_view, d.day, j.segment_key, sum(j.n) as quantity
    from (select distinct day from used) as d join joined as j on j.day <= d.day group by all
)
select allocation_view, day, segment_key, driver_key, quantity::bigint as quantity
from (unpivot counted on requests, compute_ms, events, orders into name driver_key value quantity)
where quantity > 0
union all
select allocation_view, day, segment_key, 'members', quantity::bigint from members;

create table allocations as
with charges as (
    select charge_id, charge_period_start::date as first_day,
        greatest(charge_period_start::date, (charge_period_end - interval 1 microsecond)::date) as last_day,
        round(effective_cost * 1000000)::bigint as effective_micros,
        case
            when charge_category = 'Tax' or service_name ilike '%support%' then '__overhead__'
            when lower(commitment_discount_status) = 'unused' then '__idle__'
            when tags ->> 'segment' is not null then 'tier_' || (tags ->> 'segment')
        end as target,
        case
            when service_name = 'Functions' or service_name ilike '%lambda%' then 'requests'
            when service_category in ('Compute', 'AI and Machine Learning') then 'compute_ms'
            when charge_category = 'Credit' then 'compute_ms'
            when service_category in ('Storage', 'Databases') then 'members'
            when service_category in ('Networking', 'Web', 'Media', 'Analytics') then 'events'
        end as driver_key
    from ({charges_now})
),
spans as (select distinct first_day, last_day, driver_key from charges where target is null),
weights as (
    select s.first_day, s.last_day, s.driver_key, d.allocation_view, d.segment_key, sum(d.quantity) as quantity
    from spans as s join drivers_daily as d on d.day between s.first_day and s.last_day
        and d.driver_key = s.driver_key
    group by all
),
totals as (
    select first_day, last_day, driver_key, sum(quantity) as total from weights
    where allocation_view = 'exclusive' group by all
)
select c.charge_id, w.allocation_view, w.segment_key,
    (c.effective_micros::double * w.quantity / t.total)::bigint as allocated_effective_micros
from charges as c join weights as w using (first_day, last_day, driver_key)
join totals as t using (first_day, last_day, driver_key)
where c.target is null
union all
select charge_id, unnest(['exclusive', 'full']), coalesce(target, '__unattributed__'), effective_micros
from charges where target is not null or driver_key is null;
