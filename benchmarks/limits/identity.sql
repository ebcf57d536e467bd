create table edges as
select a as node_a, b as node_b, evidence, sum(n)::bigint as n_obs, min(first_at) as first_seen_at,
    max(last_at) as last_seen_at
from (
    select *, unnest([user_id, email, phone, device_id, anonymous_id]) as b,
        coalesce(source_customer_id, user_id, email, phone, device_id, anonymous_id) as a
    from stars
)
where b <> a group by all;

create table identifiers as
select m.node, m.id_type, m.id_value, s.first_seen_at, s.last_seen_at
from identifier_map as m
join (
    select node, min(first_at) as first_seen_at, max(last_at) as last_seen_at
    from (
        select unnest([source_customer_id, user_id, email, phone, device_id, anonymous_id]) as node, first_at, last_at
        from stars
    ) where node is not null group by node
) as s using (node);

create table customers as
select 'c_' || component as customer_id, component, min(node) as anchor_node_id, count(*) as n_nodes,
    min(first_seen_at) as first_seen_at
from identifiers join (select node, component from identifier_map) using (node) group by component;

create table identifier_lookup as
select id_type, id_value as raw_value, node, 'c_' || component as customer_id from identifier_map;

create table identifier_map_history as
select node, 'c_' || component as customer_id, $as_of::timestamp as valid_from, null::timestamp as valid_to
from identifier_map;

create table events as
select row_number() over () as seq, 'create' as event, customer_id, $as_of::timestamp as effective_at from customers;

create temp table by_user as
select raw_value as user_id, customer_id from identifier_lookup where id_type = 'user_id';

create temp table by_email as
select raw_value as email, customer_id from identifier_lookup where id_type = 'email';

create table customer_accounts as
select coalesce(u.customer_id, e.customer_id) as customer_id, r.account_id, min(r.updated_at) as valid_from
from (
    select user_id, email, account_id, updated_at from house.sources.customer_records where account_id is not null
    union all
    select user_id, email, account_id, updated_at from house.sources.subscriptions where account_id is not null
) as r
left join by_user as u using (user_id) left join by_email as e on e.email = r.email
group by all;

create table customer_consents as
with decided as (
    select coalesce(u.customer_id, e.customer_id) as customer_id, purpose,
        arg_max(consent_state, occurred_at) = 'granted' as is_allowed, max(occurred_at) as decided_at
    from house.sources.consent_events as c
    left join by_user as u using (user_id) left join by_email as e on e.email = c.email
    where occurred_at <= $as_of group by all
)
select customer_id, unnest(['essential.service', 'essential.fraud_detection']) as purpose, true as is_allowed,
    first_seen_at as decided_at
from customers
union all
select d.customer_id, p.purpose, coalesce(x.is_allowed, false), coalesce(x.decided_at, $as_of)
from (select distinct customer_id from decided where customer_id is not null) as d
cross join (select unnest(['analytics', 'personalisation', 'marketing', 'marketing.email', 'marketing.ads',
    'third_party_sharing']) as purpose) as p
left join decided as x using (customer_id, purpose);

create table profiles as
with recorded as (
    select l.customer_id, arg_max(first_name, updated_at) as first_name, arg_max(last_name, updated_at) as last_name,
        arg_max(country, updated_at) as country, arg_max(company_name, updated_at) as company_name,
        arg_max(residency_region, updated_at) as residency_region, min(r.source_customer_id) as best_source_customer_id
    from house.sources.customer_records as r
    join identifier_lookup as l
        on l.id_type = 'source_customer_id' and l.raw_value = r.source || ':' || r.source_customer_id
    where updated_at <= $as_of group by 1
),
contacts as (
    select component, arg_max(id_value, last_seen_at) filter (where id_type = 'email') as email,
        arg_max(id_value, last_seen_at) filter (where id_type = 'phone') as phone,
        bool_or(id_type not in ('device_id', 'anonymous_id')) as is_known
    from identifiers join (select node, component from identifier_map) using (node) group by component
)
select customer_id, email, phone, is_known, recorded.* exclude (customer_id)
from customers join contacts using (component) left join recorded using (customer_id);
