-- People with their identifiers, and devices that nobody has named: {edges} edges, of which {daily} are the second day's.
create schema graph;

create table graph.members as
with people as (
    select range as person, hash(range, {seed}) as draw from range({people})
)
select person, 'user_id' as id_type, 0 as k, 0 as arrives from people
union all select person, 'email', 0, 0 from people where draw % 100 < 90
union all select person, 'phone', 0, 0 from people where draw >> 8 & 127 < 51
union all select person, 'device_id', 0, 0 from people where draw >> 16 & 127 < 77
-- One cookie each, a second for half of them, a third for half of those, up to six.
union all select person, 'anonymous_id', k, 0 from (
    select person, draw >> 24 as rest, unnest([0, 1, 2, 3, 4, 5]) as k from people
) where rest & ((1 << k) - 1) = 0
-- The second day's cookies of people who were there before.
union all select person, 'anonymous_id', 9, 1 from people where draw % {regulars} = 1;

-- A device and its cookie, of whom nothing else is known.
insert into graph.members
select {people} + range as person, unnest(['device_id', 'anonymous_id']) as id_type, 0 as k, 0 as arrives
from range({strangers});

-- Ids are dense, and say nothing about who belongs together.
create table graph.nodes as
select row_number() over (order by hash(person, id_type, k)) - 1 as node_id, person, id_type,
    case when hash(person, {seed}) % {every} = 0 then 1 else arrives end as day,
    timestamp '2026-01-01' + to_seconds((hash(person, k) % 20000000)::bigint) as first_seen_at
from graph.members;

drop table graph.members;

create table graph.edges as
with hubs as (
    select person, arg_min(node_id, case id_type when 'user_id' then 0 when 'device_id' then 1 else 2 end) as hub
    from graph.nodes group by person
),
rays as (
    select hub, node_id, day, first_seen_at, id_type from graph.nodes join hubs using (person) where node_id <> hub
    -- One cookie in five hundred was seen with somebody else as well.
    union all
    select o.hub, n.node_id, n.day, n.first_seen_at + interval 1 day, n.id_type from graph.nodes as n
    join hubs as o on o.person = (n.person * 7919 + 13) % {people}
    where n.id_type = 'anonymous_id' and n.person < {people} and n.person <> o.person
        and hash(n.node_id, 5) % 500 = 0 and n.day = 0 and hash(o.person, {seed}) % {every} > 0
)
select least(hub, node_id) as node_a, greatest(hub, node_id) as node_b, day,
    case when id_type in ('email', 'phone') then 3 else 2 end as tier, 1 + hash(node_id) % 12 as n_obs, first_seen_at,
    first_seen_at + interval 3 day as last_seen_at
from rays;
