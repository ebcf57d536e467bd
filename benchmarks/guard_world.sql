-- A world of people and the noise around them, as rows of sources, its truth apart (schema `world`). Everything follows
-- from {persons}, {seed} and {carelessness}: how often, by a factor, people use what is somebody else's.
-- People use their own things again and again, others' things once. Noise: kiosks, placeholder e-mails and numbers,
-- testers' accounts, household devices, borrowed logins, recycled phone numbers, mistyped addresses.

create schema world;

-- A number from 0 to 1, one of `size` things, and a moment within 230 days: drawn for anything, by its keys.
create macro draw(key, number) as (hash(key, number, {seed}) % 1000000) / 1e6;
create macro pick(key, number, size) as (hash(key, number, {seed}, 'pick') % size)::bigint;
create macro moment(key, number) as
    timestamp '2026-01-01' + to_seconds((hash(key, number, {seed}, 'moment') % (230 * 86400))::bigint);
-- How often: at least once, on average 1 + mean, at most 12 times.
create macro times(key, number, mean) as
    range(1 + least(11, floor(-ln(greatest(1e-6, draw(key, number))) * mean))::bigint);

create table world.people as
select
    range as person, draw(range, 1) < 0.45 as is_registered, draw(range, 1) < 0.45 or draw(range, 2) < 0.35 as has_email,
    draw(range, 3) < 0.15 as has_second_email, draw(range, 1) < 0.45 and draw(range, 5) < 0.02 as has_second_account,
    draw(range, 4) < case when draw(range, 1) < 0.45 then 0.6 else 0.2 end as has_phone,
    'u' || range as user_id, 'k' || range as record_id, 'person' || range || '@post.net' as email,
    'also' || range || '@post.net' as second_email, '+4915' || (12345678 + range) as phone
from range({persons});

create table world.cookies as
with devices as (
    select person, unnest(range(1 + (draw(person, 6) < 0.35)::bigint + (draw(person, 7) < 0.1)::bigint)) as device
    from world.people
),
browsers as (select person, device, unnest(times(hash(person, device), 8, 0.9)) as browser from devices)
select
    hash(person, device, browser) as cookie, person, device, browser,
    format('d-{{:x}}', hash(person, device, {seed})) as device_id,
    format('a-{{:x}}', hash(person, device, browser, {seed})) as anonymous_id,
    -- Never recognised: no device, no login, no form.
    browser > 0 and draw(hash(person, device, browser), 9) < 0.35 as is_stray
from browsers;

create table world.visitors as
select *, row_number() over (order by person) - 1 as number from world.people where is_registered;

create table world.sightings (
    entity varchar, kind varchar, source_customer_id varchar, user_id varchar, email varchar, phone varchar,
    device_id varchar, anonymous_id varchar, is_verified boolean, seen_at timestamp
);

-- What is true: records, logins, page views, orders, forms.
insert into world.sightings by name
select 'customer_records' as entity, record_id as source_customer_id, user_id, email,
    case when has_phone then phone end as phone, true as is_verified, moment(person, 10) as seen_at
from world.visitors;
insert into world.sightings by name
select 'customer_records' as entity, record_id || 'b' as source_customer_id, user_id || 'b' as user_id, email,
    true as is_verified, moment(person, 11) as seen_at
from world.visitors where has_second_account;
insert into world.sightings by name
select 'events' as entity, 'login' as kind, user_id, device_id, anonymous_id, moment(cookie, 100 + use) as seen_at
from (
    select *, unnest(times(cookie, 12, 4)) as use from world.visitors join world.cookies using (person)
    where browser = 0 and (device = 0 or draw(cookie, 13) < 0.7)
);
insert into world.sightings by name
select 'events' as entity, 'page_view' as kind, case when not is_stray then device_id end as device_id, anonymous_id,
    moment(cookie, 14) as seen_at
from world.cookies;
insert into world.sightings by name
select 'orders' as entity, user_id, second_email as email, moment(person, 15) as seen_at
from world.visitors where has_second_email;
insert into world.sightings by name
select 'form_submissions' as entity, email, case when has_phone then phone end as phone, anonymous_id,
    moment(person, 16) as seen_at
from world.people join world.cookies using (person)
where not is_registered and has_email and device = 0 and browser = 0 and draw(person, 17) < 0.8;
insert into world.sightings by name
select 'orders' as entity, email, case when has_phone then phone end as phone, moment(person, 200 + use) as seen_at
from (select *, unnest(times(person, 18, 2)) as use from world.people where not is_registered and has_email);

-- Kiosks: one for ten thousand people, with five browsers; a visitor logs in on one.
insert into world.sightings by name
select 'events' as entity, 'login' as kind, user_id, 'kiosk-' || pick(person, 20, {kiosks}) as device_id,
    'kiosk-' || pick(person, 20, {kiosks}) || '-' || pick(person, 21, 5) as anonymous_id, moment(person, 22) as seen_at
from world.visitors where draw(person, 23) < 0.08;

-- Placeholders: twelve addresses and three numbers that staff type in; half of them are on no list.
insert into world.sightings by name
select 'orders' as entity, user_id, moment(person, 25) as seen_at,
    [
        'noreply@post.net', 'test@post.net', 'info@post.net', 'none@post.net', 'a@example.com', 'admin@post.net',
        'till@post.net', 'store1@post.net', 'store2@post.net', 'walk.in@post.net', 'cash@post.net', 'nomail@post.net'
    ][1 + pick(person, 24, 12)] as email
from world.visitors where draw(person, 26) < 0.06;
insert into world.sightings by name
select 'orders' as entity, user_id, moment(person, 28) as seen_at,
    ['+491511111111', '+493012345678', '+494012345678'][1 + pick(person, 27, 3)] as phone
from world.visitors where draw(person, 29) < 0.03;

-- Testers: accounts that act for real people and use what lies around.
insert into world.sightings by name
select 'orders' as entity, 'tester' || pick(person, 30, {testers}) as user_id, email, moment(person, 31) as seen_at
from world.visitors where draw(person, 32) < 0.015;
insert into world.sightings by name
select 'events' as entity, 'login' as kind, 'tester' || pick(person, 33, {testers}) as user_id,
    'staging-' || pick(person, 34, 250 * {testers}) as anonymous_id, moment(person, 35) as seen_at
from world.visitors where draw(person, 36) < 0.02;

-- Households: somebody logs in on the device of the next registered person.
insert into world.sightings by name
select 'events' as entity, 'login' as kind, v.user_id, c.device_id, c.anonymous_id, moment(v.person, 37) as seen_at
from world.visitors as v join world.visitors as o on o.number = v.number + 1
join world.cookies as c on c.person = o.person and c.device = 0 and c.browser = 0
where draw(v.person, 38) < 0.06 * {carelessness};

-- Borrowed logins: somebody uses an account on a device of anybody at all.
insert into world.sightings by name
select 'events' as entity, 'login' as kind, v.user_id, c.device_id, c.anonymous_id, moment(v.person, 39) as seen_at
from world.visitors as v
join world.cookies as c on c.person = pick(v.person, 40, {persons}) and c.device = 0 and c.browser = 0
where draw(v.person, 41) < 0.02 * {carelessness};

-- Recycled numbers: an order with the phone number that was somebody else's.
insert into world.sightings by name
select 'orders' as entity, v.user_id, o.phone, moment(v.person, 42) as seen_at
from world.visitors as v join world.people as o on o.person = pick(v.person, 43, {persons}) and o.has_email and o.has_phone
where draw(v.person, 44) < 0.06 * {carelessness};

-- Mistyped addresses that are somebody else's.
insert into world.sightings by name
select 'orders' as entity, v.user_id, o.email, moment(v.person, 45) as seen_at
from world.visitors as v join world.people as o on o.person = pick(v.person, 46, {persons}) and o.has_email
where draw(v.person, 47) < 0.03 * {carelessness};

insert into sources.customer_records by name
select 'crm' as source, source_customer_id, user_id, email, phone, is_verified as email_is_verified,
    seen_at as created_at, seen_at as updated_at,
    1 as file_id, row_number() over (order by source_customer_id) as line, 'world' as run_id, now()::timestamp as recorded_at
from world.sightings where entity = 'customer_records';

insert into sources.orders by name
select 'shop' as source, 'o' || line as order_id, 'completed' as order_status, user_id, email, phone, seen_at as ordered_at,
    1 as file_id, line, 'world' as run_id, now()::timestamp as recorded_at
from (
    select *, row_number() over (order by seen_at, user_id, email, phone) as line
    from world.sightings where entity = 'orders'
);

insert into sources.events by name
select 'web' as source, 'e' || line as event_id, kind as event_type, user_id, device_id, anonymous_id,
    seen_at as occurred_at, 1 as file_id, line, 'world' as run_id, now()::timestamp as recorded_at
from (
    select *, row_number() over (order by seen_at, user_id, device_id, anonymous_id) as line
    from world.sightings where entity = 'events'
);

insert into sources.form_submissions by name
select 'web' as source, 'f' || line as submission_id, 'newsletter' as form_name, email, phone, anonymous_id,
    seen_at as submitted_at, 1 as file_id, line, 'world' as run_id, now()::timestamp as recorded_at
from (
    select *, row_number() over (order by seen_at, email) as line
    from world.sightings where entity = 'form_submissions'
);

-- Who is who. A household's device is its owner's. What is nobody's is an entity of its own: joining it is an error.
create table world.truth as
select id_type, id_value, source, 'person ' || person as entity_id from (
    select person, 'user_id' as id_type, user_id as id_value, null as source from world.visitors
    union all select person, 'user_id', user_id || 'b', null from world.visitors where has_second_account
    union all select person, 'source_customer_id', record_id, 'crm' from world.visitors
    union all select person, 'source_customer_id', record_id || 'b', 'crm' from world.visitors where has_second_account
    union all select person, 'email', email, null from world.people where has_email
    union all select person, 'email', second_email, null from world.visitors where has_second_email
    union all select person, 'phone', phone, null from world.people where has_email and has_phone
    union all select distinct person, 'device_id', device_id, null from world.cookies where not is_stray
    union all select person, 'anonymous_id', anonymous_id, null from world.cookies
)
union all
select distinct id_type, id_value, null, 'nobody ' || id_value from (
    select 'device_id' as id_type, device_id as id_value from world.sightings where device_id like 'kiosk-%'
    union all select 'anonymous_id', anonymous_id from world.sightings
    where anonymous_id like 'kiosk-%' or anonymous_id like 'staging-%'
    union all select 'user_id', user_id from world.sightings where user_id like 'tester%'
);
