create table registry as
select node as node_id, id_type,
    case when id_type = 'source_customer_id' then split_part(id_value, ':', 1) else '' end as id_namespace,
    case when id_type = 'source_customer_id' then substr(id_value, strpos(id_value, ':') + 1) else id_value end as id_value,
    true as is_raw
from labelled;

create table edges as
select a as node_a, b as node_b, source, evidence, case when evidence in ('customer_records', 'subscriptions') then 1
        when evidence = 'events' then 3 else 2 end as tier,
    null::double as match_probability, sum(n)::bigint as n_obs, min(first_at) as first_seen_at,
    max(last_at) as last_seen_at, true as admitted, null::varchar as reject_rule, {stamps}
from (
    select *, unnest([user_id, email, phone, device_id, anonymous_id]) as b,
        coalesce(source_customer_id, user_id, email, phone, device_id, anonymous_id) as a
    from stars
)
where b <> a group by a, b, source, evidence;

create temp table seen as
select node, min(first_at) as first_seen_at, max(last_at) as last_seen_at, arg_max(source, last_at) as last_source
from (
    select unnest([source_customer_id, user_id, email, phone, device_id, anonymous_id]) as node, first_at, last_at, source
    from stars
) where node is not null group by node;

create table identifiers as
select r.node_id, r.id_type, r.id_namespace, r.id_value, 'active' as status, null::varchar as status_rule,
    false as is_verified, s.first_seen_at, s.last_seen_at, {stamps}
from registry as r join seen as s on s.node = r.node_id;

create table identifier_map as
select node as node_id, 'c_' || component as customer_id, {stamps} from labelled;

create table customers as
select 'c_' || component as customer_id, component as customer_seq, min(node) as anchor_node_id, 0 as anchor_priority,
    'active' as status, null::varchar as merged_into, 'deterministic' as match_basis, count(*) as n_nodes,
    $as_of::timestamp as created_at, min(first_seen_at) as first_seen_at, {stamps}
from labelled join seen using (node) group by component;

create table identifier_lookup as
select id_type, id_namespace, id_value as raw_value, node_id, customer_id
from registry join identifier_map using (node_id);

create table identifier_map_history as
select node_id, customer_id, $as_of::timestamp as valid_from, null::timestamp as valid_to, {stamps}
from identifier_map;

create table events as
select row_number() over () as seq, 'create' as event, customer_id,
    null::varchar as other_customer_id, n_nodes, null::varchar as cause_rule, $as_of::timestamp as effective_at, {stamps}
from customers;

create temp table by_user as
select raw_value as user_id, customer_id from identifier_lookup where id_type = 'user_id';

create temp table by_email as
select raw_value as email, customer_id from identifier_lookup where id_type = 'email';

create table customer_accounts as
select coalesce(u.customer_id, e.customer_id) as customer_id, r.account_id, r.role, min(r.updated_at) as valid_from,
    null::timestamp as valid_to, {stamps}
from (
    select user_id, email, account_id, account_role as role, updated_at
    from house.sources.customer_records where account_id is not null
    union all
    select user_id, email, account_id, 'subscriber', updated_at
    from house.sources.subscriptions where account_id is not null
) as r
left join by_user as u using (user_id) left join by_email as e on e.email = r.email
group by 1, 2, 3;

create table customer_consents as
with decided as (
    select coalesce(u.customer_id, e.customer_id) as customer_id, purpose,
        arg_max(consent_state, occurred_at) = 'granted' as is_allowed, max(occurred_at) as decided_at
    from house.sources.consent_events as c
    left join by_user as u using (user_id) left join by_email as e on e.email = c.email
    where occurred_at <= $as_of group by all
)
select customer_id, unnest(['essential.service', 'essential.fraud_detection']) as purpose, true as is_allowed,
    first_seen_at as decided_at, {stamps}
from customers
union all
select d.customer_id, p.purpose, coalesce(x.is_allowed, false), coalesce(x.decided_at, $as_of), {stamps}
from (select distinct customer_id from decided where customer_id is not null) as d
cross join (select unnest(['analytics', 'personalisation', 'marketing', 'marketing.email', 'marketing.ads',
    'third_party_sharing']) as purpose) as p
left join decided as x using (customer_id, purpose);

create table profiles as
with recorded as (
    select l.customer_id, {stated}, min(r.source_customer_id) as best_source_customer_id
    from house.sources.customer_records as r
    join identifier_lookup as l
        on l.id_type = 'source_customer_id' and l.id_namespace = r.source and l.raw_value = r.source_customer_id
    where updated_at <= $as_of group by 1
),
contacts as (
    select component, arg_max(id_value, last_seen_at) filter (where id_type = 'email') as email,
        arg_max(last_source, last_seen_at) filter (where id_type = 'email') as email_source,
        max(last_seen_at) filter (where id_type = 'email') as email_at,
        arg_max(id_value, last_seen_at) filter (where id_type = 'phone') as phone,
        arg_max(last_source, last_seen_at) filter (where id_type = 'phone') as phone_source,
        max(last_seen_at) filter (where id_type = 'phone') as phone_at,
        bool_or(id_type not in ('device_id', 'anonymous_id')) as is_known
    from labelled join seen using (node) group by component
)
select customer_id, contacts.* exclude (component), recorded.* exclude (customer_id), {stamps}
from customers join contacts on contacts.component = customers.customer_seq left join recorded using (customer_id);
