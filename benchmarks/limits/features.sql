create table customer_features as
with sightings as (
    select user_id, email, device_id, anonymous_id, min(occurred_at) as first_at, max(occurred_at) as last_at
    from house.sources.events where occurred_at <= $as_of group by all
),
devices as materialized (
    select {events_customer} as customer_id, r.device_id, min(first_at) as first_at, max(last_at) as last_at
    from sightings as r {events_joins} group by all
),
seen as (
    select
        customer_id,
        max(last_at) as last_seen_at,
        count(*) filter (where device_id is not null and last_at > $as_of - interval 7 day) as devices_7d,
        count(*) filter (where device_id is not null and first_at > $as_of - interval 7 day) as new_devices_7d
    from devices where customer_id is not null group by 1
),
visits as (
    select user_id, email, device_id, anonymous_id, session_id, occurred_at::date as day, min(channel) as channel
    from house.sources.events where occurred_at > $as_of - interval 30 day and occurred_at <= $as_of group by all
),
visited as materialized (
    select {events_customer} as customer_id, session_id, day, channel from visits as r {events_joins}
),
days as (select customer_id, count(distinct day) as days_active_30d from visited group by 1),
sessions as (
    select customer_id, session_id, min(channel) as channel from visited
    where session_id is not null and customer_id is not null group by 1, 2
),
channels as (select customer_id, channel, count(*) as n from sessions group by 1, 2),
engaged as (
    select customer_id, sum(n)::bigint as sessions_30d,
        first(channel order by channel is null, n desc, channel) as top_channel
    from channels group by 1
),
requests as (
    select
        {requests_customer} as customer_id,
        count(*) filter (where occurred_at > $as_of - interval 1 day) as requests_1d,
        count(*) filter (where occurred_at > $as_of - interval 7 day) as requests_7d,
        count(*) as requests_30d,
        quantile_cont(latency_ms, 0.95) filter (where occurred_at > $as_of - interval 7 day) as request_p95_ms_7d,
        count(*) filter (where occurred_at > $as_of - interval 7 day and status_code >= 500) as errors,
        count(*) filter (where occurred_at > $as_of - interval 7 day and is_throttled) as throttled,
        round(coalesce(sum(round(compute_ms * 1000)::bigint), 0) / 1000.0)::bigint as compute_ms_30d
    from house.sources.requests as r {requests_joins}
    where occurred_at > $as_of - interval 30 day and occurred_at <= $as_of
    group by 1
),
lines as (
    select order_id, sum(quantity * unit_price_micros)::bigint as net,
        sum(case when quantity > 0 then quantity * unit_price_micros else 0 end)::bigint as gross
    from ({lines_now}) group by 1
),
placed as materialized (
    select
        {orders_customer} as customer_id, r.ordered_at, r.card_fingerprint, r.chargeback_at,
        lower(r.order_status) in ('cancelled', 'canceled', 'failed') as is_cancelled,
        lower(r.order_status) = 'failed' as is_failed,
        lower(r.order_status) in ('cancelled', 'canceled', 'returned', 'refunded') as is_returned,
        coalesce(lines.net, r.amount_micros, 0) as net,
        coalesce(lines.gross, greatest(r.amount_micros, 0), 0) as gross
    from ({orders_now}) as r left join lines using (order_id) {orders_joins}
    where r.ordered_at <= $as_of
),
orders as materialized (
    select
        customer_id,
        count(*) filter (where not is_cancelled and ordered_at > $as_of - interval 30 day) as orders_30d,
        count(*) filter (where not is_cancelled and ordered_at > $as_of - interval 90 day) as orders_90d,
        count(*) filter (where not is_cancelled and ordered_at > $as_of - interval 365 day) as orders_365d,
        count(*) filter (where not is_cancelled) as orders_total,
        count(*) filter (where is_cancelled) as cancelled_orders_total,
        sum(case when not is_cancelled and ordered_at > $as_of - interval 30 day then net else 0 end)::bigint
            as revenue_30d,
        sum(case when not is_cancelled and ordered_at > $as_of - interval 90 day then net else 0 end)::bigint
            as revenue_90d,
        sum(case when not is_cancelled and ordered_at > $as_of - interval 365 day then net else 0 end)::bigint
            as revenue_365d,
        sum(case when is_cancelled then 0 else net end)::bigint as revenue_total,
        min(ordered_at) filter (where not is_cancelled) as first_order_at,
        max(ordered_at) filter (where not is_cancelled) as last_order_at,
        sum(case when ordered_at > $as_of - interval 365 day and not is_failed then gross else 0 end) as gross_365d,
        sum(case when ordered_at <= $as_of - interval 365 day or is_failed then 0
            when is_returned then greatest(gross, gross - net) else gross - net end) as returned_365d,
        count(*) filter (where chargeback_at > $as_of - interval 365 day and chargeback_at <= $as_of) as chargebacks,
        count(distinct case when ordered_at > $as_of - interval 30 day then card_fingerprint end) as cards
    from placed where customer_id is not null group by 1
),
buyers as materialized (
    select customer_id, orders_total, revenue_total,
        floor(datediff('microsecond', last_order_at, $as_of) / 86400000000.0)::bigint as days,
        row_number() over (order by orders_total, best_source_customer_id nulls last, customer_id) as rank
    from orders
    join house.identity.customers using (customer_id)
    left join house.identity.profiles using (customer_id)
    where orders_total > 0 and status = 'active'
),
edges as (
    select quantile_cont(days, [0.2, 0.4, 0.6, 0.8]) as recency, quantile_cont(revenue_total, [0.2, 0.4, 0.6, 0.8])
        as monetary, count(*) as n from buyers
),
scores as (
    select customer_id,
        5 - (days > recency[1])::bigint - (days > recency[2])::bigint - (days > recency[3])::bigint
            - (days > recency[4])::bigint as recency_score,
        1 + (5 * (rank - 1) > n - 1)::bigint + (5 * (rank - 1) > 2 * (n - 1))::bigint
            + (5 * (rank - 1) > 3 * (n - 1))::bigint + (5 * (rank - 1) > 4 * (n - 1))::bigint as frequency_score,
        1 + (revenue_total > monetary[1])::bigint + (revenue_total > monetary[2])::bigint
            + (revenue_total > monetary[3])::bigint + (revenue_total > monetary[4])::bigint as monetary_score
    from buyers cross join edges
),
tickets as (
    select
        {tickets_customer} as customer_id,
        count(*) filter (where opened_at <= $as_of and (closed_at is null or closed_at > $as_of)
            and lower(ticket_status) not in ('closed', 'solved', 'resolved', 'cancelled')) as tickets_open,
        count(*) filter (where opened_at > $as_of - interval 90 day and opened_at <= $as_of) as tickets_90d,
        avg(csat_score::double) as csat_mean
    from ({tickets_now}) as r {tickets_joins} group by 1
),
members as (select distinct customer_id, account_id from house.identity.customer_accounts
    where valid_from <= $as_of and (valid_to is null or valid_to > $as_of)),
subscribed as materialized (
    select {members_customer} as customer_id, r.* from ({subscriptions_now}) as r {members_joins}
    where r.started_at is null or r.started_at <= $as_of
),
subscriptions_owned as (
    select * from subscribed where customer_id is not null
    union all
    select m.customer_id, s.* exclude (customer_id) from subscribed as s join members as m using (account_id)
    where s.customer_id is distinct from m.customer_id
),
subscriptions as (
    select * from (
        select *, case lower(subscription_status) when 'active' then 1 when 'past_due' then 1 when 'trialing' then 2
            when 'trial' then 2 when 'paused' then 3 else 4 end as status_rank
        from subscriptions_owned
    ) qualify row_number() over (partition by customer_id order by status_rank, started_at desc nulls last,
        subscription_id) = 1
),
invoiced as materialized (
    select {members_customer} as customer_id, r.account_id, r.due_at, r.paid_at, r.amount_micros,
        lower(r.invoice_status) in ('void', 'voided', 'cancelled', 'written_off', 'draft') as is_void,
        lower(r.invoice_status) = 'paid' or coalesce(r.paid_at <= $as_of, false) as is_paid, r.issued_at
    from ({invoices_now}) as r {members_joins}
),
invoices_owned as (
    select * from invoiced where customer_id is not null
    union all
    select m.customer_id, i.* exclude (customer_id) from invoiced as i join members as m using (account_id)
    where i.customer_id is distinct from m.customer_id
),
invoices as (
    select customer_id,
        count(*) filter (where not is_void and due_at > $as_of - interval 365 day and due_at <= $as_of
            and (paid_at > due_at or (not is_paid and due_at < $as_of))) as paid_late,
        sum(case when not is_void and not is_paid and issued_at <= $as_of then amount_micros else 0 end)::bigint
            as open_micros
    from invoices_owned group by 1
),
submitted as (
    select {forms_customer} as customer_id, r.submitted_at, r.submission_id, r.line, r.company_size, r.job_level,
        r.is_demo_requested
    from house.sources.form_submissions as r {forms_joins} where r.submitted_at <= $as_of
),
forms as (
    select customer_id,
        first(company_size order by company_size is null, submitted_at desc, submission_id desc, line desc)
            as company_size,
        first(job_level order by job_level is null, submitted_at desc, submission_id desc, line desc) as job_level,
        max(submitted_at) filter (where is_demo_requested) as demo_requested_at
    from submitted group by 1
),
consents as (
    select customer_id, list_sort(list(purpose)) as purposes
    from house.identity.customer_consents where is_allowed group by 1
),
accounts as (select account_id, max(company_size) as company_size from ({accounts_now}) group by 1),
belongs as (
    select customer_id, account_id, company_size
    from (select distinct on (customer_id) customer_id, account_id from house.identity.customer_accounts
        where valid_from <= $as_of and (valid_to is null or valid_to > $as_of)
        order by customer_id, valid_from desc, account_id)
    left join accounts using (account_id)
)
select
    c.customer_id, $as_of::timestamp as as_of, c.first_seen_at,
    floor(datediff('microsecond', c.first_seen_at, $as_of) / 86400000000.0)::bigint as tenure_days,
    c.n_nodes as identifier_count, coalesce(p.is_known, false) as is_known, p.country, p.residency_region,
    b.account_id, coalesce(o.orders_30d, 0) as orders_30d, coalesce(o.orders_90d, 0) as orders_90d,
    coalesce(o.orders_365d, 0) as orders_365d, coalesce(o.orders_total, 0) as orders_total,
    coalesce(o.cancelled_orders_total, 0) as cancelled_orders_total,
    coalesce(o.revenue_30d, 0) as revenue_micros_30d, coalesce(o.revenue_90d, 0) as revenue_micros_90d,
    coalesce(o.revenue_365d, 0) as revenue_micros_365d, coalesce(o.revenue_total, 0) as revenue_micros_total,
    o.revenue_total // nullif(o.orders_total, 0) as average_order_micros, o.first_order_at, o.last_order_at,
    floor(datediff('microsecond', o.last_order_at, $as_of) / 86400000000.0)::bigint as days_since_last_order,
    o.returned_365d::double / nullif(o.gross_365d::double, 0) as returns_ratio_365d,
    s.recency_score, s.frequency_score, s.monetary_score,
    coalesce(e.sessions_30d, 0) as sessions_30d, coalesce(d.days_active_30d, 0) as days_active_30d, v.last_seen_at,
    floor(datediff('microsecond', v.last_seen_at, $as_of) / 86400000000.0)::bigint as days_since_last_seen,
    e.top_channel, coalesce(r.requests_1d, 0) as requests_1d, coalesce(r.requests_7d, 0) as requests_7d,
    coalesce(r.requests_30d, 0) as requests_30d, r.request_p95_ms_7d,
    r.errors::double / nullif(r.requests_7d, 0) as error_ratio_7d,
    r.throttled::double / nullif(r.requests_7d, 0) as throttled_ratio_7d,
    coalesce(r.compute_ms_30d, 0) as compute_ms_30d, coalesce(t.tickets_open, 0) as tickets_open,
    coalesce(t.tickets_90d, 0) as tickets_90d, t.csat_mean, u.plan,
    case when u.status_rank < 4 then coalesce(u.mrr_micros, 0) else 0 end as mrr_micros,
    case when u.status_rank < 4 then coalesce(u.seats, 0) else 0 end as seats, u.subscription_status,
    case when u.status_rank < 4 then u.renews_at end as renews_at,
    floor(datediff('microsecond', $as_of, case when u.status_rank < 4 then u.renews_at end) / 86400000000.0)::bigint
        as days_to_renewal,
    coalesce(i.paid_late, 0) as paid_late_count_365d, coalesce(i.open_micros, 0) as open_invoice_micros,
    coalesce(o.chargebacks, 0) as chargebacks_365d, coalesce(o.cards, 0) as distinct_cards_30d,
    v.new_devices_7d::double / nullif(v.devices_7d, 0) as new_device_ratio_7d,
    coalesce(f.company_size, b.company_size) as company_size, f.job_level, f.demo_requested_at,
    coalesce(n.purposes, []::varchar[]) as consented_purposes
from house.identity.customers as c
left join house.identity.profiles as p using (customer_id)
left join belongs as b using (customer_id)
left join orders as o using (customer_id)
left join scores as s using (customer_id)
left join seen as v using (customer_id)
left join days as d using (customer_id)
left join engaged as e using (customer_id)
left join requests as r using (customer_id)
left join tickets as t using (customer_id)
left join subscriptions as u using (customer_id)
left join invoices as i using (customer_id)
left join forms as f using (customer_id)
left join consents as n using (customer_id)
where c.status = 'active'
