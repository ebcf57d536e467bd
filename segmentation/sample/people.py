"""Who the people of the made-up company are: names, identifiers, employers, and the part they play.

Belongs here: tables `people`, `accounts` and `actors`, the truth that all feeds are drawn from. Does not
belong here: how a source writes a person down (`crm.py`, `shop.py` and the other feeds). The parts people
play are planted segments; `truth.py` writes them out.
"""

import unicodedata

from segmentation.sample.names import (
    COMPANY_FORMS,
    COMPANY_WORDS,
    CONSUMER_DOMAINS,
    COUNTRIES,
    INDUSTRIES,
    sql_list,
)
from segmentation.sample.world import World

#: The parts people play, with their share of the customers in parts of ten thousand; the rest is steady.
PARTS: dict[str, int] = {
    "heavy_api": 50,
    "vip": 250,
    "churner": 800,
    "fraudster": 60,
    "new_customer": 600,
    "late_payer": 300,
    "support_heavy": 200,
}


#: The company's own accounts, which behave like a thief and like an unhappy customer; the catalog excludes them.
OWN_ACCOUNTS: dict[str, str] = {
    "checkout.test@strata.example": "fraudster",
    "support.test@strata.example": "support_heavy",
}

#: First and last names a country has; keys of names and towns are country * _POOL + position.
_POOL = 10


def draw_people(world: World) -> None:
    """Draw tables `people`, `accounts` and `actors` (people and visitors, with their days of activity)."""
    _pool(world)
    _parts(world)
    _accounts(world)
    _people(world)
    _actors(world)


def fold(text: str) -> str:
    """Write a name with the letters that e-mail addresses use: ``Weiß`` becomes ``weiss``."""
    decomposed = unicodedata.normalize("NFKD", text.replace("ß", "ss").lower())
    return "".join(letter for letter in decomposed if letter.isascii() and letter.isalnum())


def _pool(world: World) -> None:
    world.run(
        """
        create or replace table countries (
            country_no bigint, country varchar, region varchar, jurisdiction varchar, calling_code varchar,
            trunk varchar
        );
        create or replace table first_names (first_key bigint, first_name varchar, first_fold varchar);
        create or replace table last_names (last_key bigint, last_name varchar, last_fold varchar);
        create or replace table towns (town_key bigint, town varchar, postal_prefix varchar);
        """
    )
    for number, country in enumerate(COUNTRIES):
        world.con.execute(
            "insert into countries values (?, ?, ?, ?, ?, ?)",
            [number, country.code, country.region, country.jurisdiction, country.calling_code, country.trunk],
        )
        for table, names in (("first_names", country.first_names), ("last_names", country.last_names)):
            rows = [(number * _POOL + position, name, fold(name)) for position, name in enumerate(names)]
            world.con.executemany(f"insert into {table} values (?, ?, ?)", rows)
        rows = [(number * _POOL + position, town, prefix) for position, (town, prefix) in enumerate(country.towns)]
        world.con.executemany("insert into towns values (?, ?, ?)", rows)


def _parts(world: World) -> None:
    cases, bound = [], 0
    for part, share in PARTS.items():
        bound += share
        cases.append(f"when below(person, 'part', 10000) < {bound} then '{part}'")
    # The first people play one part each, so that even a tiny company has all of them.
    # The company's own accounts follow.
    first = f"when person < {2 * len(PARTS)} then {sql_list(tuple(PARTS))}[1 + person % {len(PARTS)}]"
    own = _cases(tuple(OWN_ACCOUNTS.values()))
    countries = [number for number, country in enumerate(COUNTRIES) for _ in range(country.weight)]
    world.run(
        f"""
        create or replace table parts as
        select
            *,
            part = 'heavy_api' or chance(person, 'business', 120000) as is_business,
            pick({countries}, person, 'country')::bigint as country_no
        from (
            select person, case {first} {own} {" ".join(cases)} else 'steady' end as part
            from (select range as person from range({world.customers}))
        )
        """
    )


def _cases(values: tuple[str, ...]) -> str:
    """Give each of the company's own accounts its value, as branches of a case expression."""
    return " ".join(f"when person = {2 * len(PARTS) + n} then '{value}'" for n, value in enumerate(values))


def _accounts(world: World) -> None:
    # The power of the draw makes a few large companies and many small ones.
    world.run(
        """
        create or replace table staff as
        with placed as (
            select
                person,
                part,
                country_no,
                floor(
                    greatest(1, (select count(*) from parts where is_business) // 5)
                    * pow(unit(person, 'account'), 1.8)
                )::bigint as account
            from parts
            where is_business
        )
        select *, row_number() over (partition by account order by person) as seat
        from placed
        """
    )
    world.run(
        f"""
        create or replace table accounts as
        select
            account,
            'A-' || (1000000 + account) as account_id,
            pick({sql_list(COMPANY_WORDS)}, account, 'word') || ' '
                || pick({sql_list(COMPANY_WORDS)}, account, 'second word') || ' ' || account::varchar || ' '
                || {sql_list(COMPANY_FORMS)}[1 + country_no] as account_name,
            'firma' || account::varchar || '.example' as domain,
            pick({sql_list(INDUSTRIES)}, account, 'industry') as industry,
            (members * (1 + below(account, 'size', 12)))::bigint as company_size,
            country_no,
            members,
            case
                when has_heavy then 'enterprise'
                when has_vip then 'pro'
                else pick(['free', 'core', 'core', 'pro', 'pro', 'enterprise'], account, 'plan')
            end as plan,
            date '{world.start}' - 30 - below(account, 'account age', 900)::integer as created_on
        from (
            select
                account,
                count(*) as members,
                min(country_no) filter (where seat = 1) as country_no,
                bool_or(part = 'heavy_api') as has_heavy,
                bool_or(part = 'vip') as has_vip
            from staff
            group by account
        )
        """
    )


def _people(world: World) -> None:
    own = _cases(tuple(OWN_ACCOUNTS))
    world.run(
        f"""
        create or replace table people as
        with drawn as (
            select
                parts.person,
                parts.part,
                parts.is_business,
                parts.country_no,
                staff.account,
                case
                    when staff.account is null then null
                    when staff.seat = 1 then 'owner'
                    when parts.part = 'heavy_api' then 'developer'
                    else pick(['member', 'member', 'developer', 'billing', 'admin'], parts.person, 'role')
                end as account_role,
                parts.country_no * {_POOL} + below(parts.person, 'first name', {_POOL}) as first_key,
                parts.country_no * {_POOL} + below(parts.person, 'last name', {_POOL}) as last_key,
                parts.country_no * {_POOL} + below(parts.person, 'town', 4) as town_key,
                -- Coprime factors: no two people share a number.
                (parts.person * 48271 + {world.seed % 50_000_000}) % 50000000 as phone_no,
                case
                    when parts.part = 'new_customer'
                        then greatest(0, {world.days} - 3 - below(parts.person, 'new', 12))
                    when parts.part = 'churner' or chance(parts.person, 'old', 800000)
                        then -1 - below(parts.person, 'age', 1000)
                    else below(parts.person, 'joined', greatest(1, {world.days} * 3 // 4))
                end as created_day,
                chance(parts.person, 'has login', 920000)
                    or parts.part in ('heavy_api', 'fraudster', 'vip') as has_login,
                chance(parts.person, 'has record', 940000) as has_record
            from parts
            left join staff using (person)
        )
        select
            drawn.person,
            'P' || (100000000 + drawn.person) as person_id,
            drawn.part,
            drawn.is_business,
            drawn.account,
            accounts.account_id,
            accounts.plan as account_plan,
            drawn.account_role,
            first_name,
            last_name,
            case {own}
                else first_fold || '.' || last_fold || drawn.person::varchar || '@'
                    || coalesce(accounts.domain, pick({sql_list(CONSUMER_DOMAINS)}, drawn.person, 'domain'))
            end as email,
            case when chance(drawn.person, 'second address', 100000) then
                left(first_fold, 1) || last_fold || '.' || drawn.person::varchar
                    || '@' || pick({sql_list(CONSUMER_DOMAINS)}, drawn.person, 'second domain')
            end as second_email,
            case when chance(drawn.person, 'has phone', 850000) then
                case country
                    when 'DE' then '151' || lpad(phone_no::varchar, 8, '0')
                    when 'FR' then '6' || lpad(phone_no::varchar, 8, '0')
                    when 'GB' then '72' || lpad(phone_no::varchar, 8, '0')
                    when 'ES' then '6' || lpad(phone_no::varchar, 8, '0')
                    when 'US' then (phone_no % 8 * 100 + 213)::varchar
                        || lpad((2000000 + phone_no // 8)::varchar, 7, '0')
                    else '6' || (10000000 + phone_no)::varchar
                end
            end as national_number,
            countries.calling_code,
            countries.trunk,
            '+' || countries.calling_code || national_number as phone,
            case when has_record or not has_login then 'K' || (500000 + drawn.person)::varchar end as crm_id,
            case when has_record and chance(drawn.person, 'second record', 30000)
                then 'K' || (900000000 + drawn.person)
            end as second_crm_id,
            case when has_login then 'u_' || token(drawn.person, 'user') end as user_id,
            'S' || (7000000 + drawn.person)::varchar as shop_id,
            date '{world.start}' + created_day::integer
                + to_seconds(below(drawn.person, 'created second', 72000)) as created_at,
            date '1945-01-01' + below(drawn.person, 'birth', 22000)::integer as birth_date,
            countries.country,
            countries.region,
            countries.jurisdiction,
            town,
            postal_prefix || lpad(below(drawn.person, 'postal', 100)::varchar, 2, '0')
                as postal_code,
            chance(drawn.person, 'verified', 800000) as is_verified,
            drawn.part = 'heavy_api' or (account_role in ('developer', 'owner')) or (
                drawn.account is null and has_login and chance(drawn.person, 'hobby developer', 20000)
            ) as is_api_user,
            -- Activity begins the day after signing up.
            least(greatest(created_day + 1, 0), {world.days} - 1) as from_day,
            case when drawn.part = 'churner' then {world.quiet_day} else {world.days} end as to_day
        from drawn
        join countries using (country_no)
        join first_names using (first_key)
        join last_names using (last_key)
        join towns using (town_key)
        left join accounts on accounts.account = drawn.account
        order by drawn.person
        """
    )


def _actors(world: World) -> None:
    world.run(
        f"""
        create or replace table actors as
        select person, person_id, part, user_id, email, country, from_day, to_day from people
        union all
        select
            {world.customers} + range,
            'V' || (100000000 + range),
            'visitor',
            null,
            'lead' || range::varchar || '.' || token({world.customers} + range, 'lead') || '@'
                || pick({sql_list(CONSUMER_DOMAINS)}, range, 'lead domain'),
            pick({sql_list(tuple(c.code for c in COUNTRIES))}, range, 'lead country'),
            0,
            {world.days}
        from range({world.visitors})
        order by person
        """
    )
