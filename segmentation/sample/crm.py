"""Customer and company records as a German CRM exports them.

Belongs here: feeds `crm_contacts` (CSV with semicolons, German headers and dates, a full export and a
later one with changes) and `crm_accounts` (CSV in Latin-1). Does not belong here: who the people are
(`people.py`).
"""

from segmentation.sample.names import COUNTRIES
from segmentation.sample.world import World
from segmentation.sample.writer import Landing, stamp

_STAMP = "%d.%m.%Y %H:%M:%S"


def write_crm(world: World, landing: Landing) -> None:
    """Write the contact and account exports."""
    _draw_records(world)
    _plant(world)
    columns = f"""
        crm_id as "Kundennummer", first_name as "Vorname", last_name as "Nachname", email as "E-Mail",
        phone as "Telefon", company as "Firma", account_id as "Kontonummer", account_role as "Rolle",
        strftime(birth_date, '%d.%m.%Y') as "Geburtsdatum", country as "Land", town as "Ort",
        postal_code as "PLZ", region as "Datenregion", verified as "E-Mail bestätigt", user_id as "Portal-Kennung",
        strftime(created_at, '{_STAMP}') as "Angelegt am", coalesce(broken_stamp, strftime(updated_at, '{_STAMP}'))
            as "Geändert am"
    """
    for delivery, day in ((0, world.middle), (1, world.end)):
        landing.write_csv(
            "crm_contacts",
            f"kontakte_{stamp(day)}",
            f"select {columns} from crm_records where delivery = {delivery} order by person, record, copy",
            delimiter=";",
        )
    codes = [country.code for country in COUNTRIES]
    regions = [country.region for country in COUNTRIES]
    landing.write_csv(
        "crm_accounts",
        f"firmenkonten_{stamp(world.end)}",
        f"""
        select
            account_id as "Kontonummer", account_name as "Firmenname", industry as "Branche",
            company_size as "Mitarbeiterzahl", {codes}[1 + country_no] as "Land",
            {regions}[1 + country_no] as "Datenregion", strftime(created_on, '%d.%m.%Y') as "Angelegt am",
            strftime(date '{world.middle}', '%d.%m.%Y') as "Geändert am"
        from accounts order by account
        """,
        delimiter=";",
        encoding="latin-1",
    )


def _draw_records(world: World) -> None:
    end, middle = f"timestamp '{world.end}'", f"timestamp '{world.middle}'"
    every = world.every(world.customers, 6)
    # Copies: 0 the record, 1 its later change, 2 the same row sent again, 3 and 4 rows that can't be loaded.
    world.run(
        f"""
        create or replace table crm_records as
        with records as (
            select
                people.* exclude (part, is_business, account_plan, second_email, phone, shop_id, is_api_user, from_day,
                    to_day),
                record,
                case record when 0 then crm_id else second_crm_id end as record_id,
                person * 2 + record as k,
                accounts.account_name
            from people
            left join accounts using (account)
            cross join (select unnest([0, 1]) as record)
            where record_id is not null
        ),
        copies as (
            select *, 0 as copy from records
            union all
            select *, 1 from records where chance(k, 'record changes', 40000) and created_at < {middle}
            union all
            select *, 2 from records where chance(k, 'record sent twice', 10000)
            union all
            select *, 3 from records where record = 0 and person % {every} = 1 % {every}
            union all
            select *, 4 from records where record = 0 and person % {every} = 2 % {every}
        )
        select
            person,
            record,
            copy,
            case when copy in (1, 2) or created_at >= {middle} then 1 else 0 end as delivery,
            case when copy <> 3 then record_id end as crm_id,
            case when record = 1 then left(first_name, 1) || '.' else first_name end as first_name,
            last_name,
            case
                when chance(k, 'record address is a placeholder', 10000) then placeholder_email(k)
                else typed_email(email, k, 'record')
            end as email,
            case
                when chance(k, 'record phone is a placeholder', 10000) then placeholder_phone(k)
                else typed_phone(calling_code, trunk, national_number, k, 'record')
            end as phone,
            account_name as company,
            account_id,
            account_role,
            birth_date,
            country,
            case when copy = 1 then 'Umgezogen' else town end as town,
            postal_code,
            region,
            case when is_verified then 'J' else 'N' end as verified,
            case when record = 0 and chance(k, 'record names the login', 700000) then user_id end as user_id,
            created_at,
            case
                when copy = 1 then {middle} + to_seconds(below(k, 'change', {(world.end - world.middle).days * 86400}))
                else least(created_at + to_hours(below(k, 'update', 48)), {end} - interval 1 second)
            end as updated_at,
            case when copy = 4 then '31.02.' || year(created_at) || ' 25:61:00' end as broken_stamp
        from copies
        """
    )


def _plant(world: World) -> None:
    for kind, condition in (
        ("exact_duplicate", "copy = 2"),
        ("changed_content", "copy = 1"),
        ("missing_required", "copy = 3"),
        ("unparsable", "copy = 4"),
        ("second_record", "record = 1 and copy = 0"),
    ):
        world.plant(
            kind,
            "customer_records",
            world.number(f"select count(*) from crm_records where {condition}"),
        )
