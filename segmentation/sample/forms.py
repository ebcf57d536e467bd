"""Lead forms as a marketing site exports them.

Belongs here: feed `forms_leads` (CSV with headers for people), filled in by visitors and by customers.
Does not belong here: browsing (`usage.py`).
"""

from segmentation.sample.usage import KIOSK_KEYS
from segmentation.sample.world import World
from segmentation.sample.writer import Landing, stamp


def write_forms(world: World, landing: Landing) -> None:
    """Write one export of all submissions."""
    _draw_leads(world)
    landing.write_csv(
        "forms_leads",
        f"leads_{stamp(world.end)}",
        f"""
        select
            case when copy = 1 then null else 'L-' || lpad(person::varchar, 9, '0') end as "Submission ID",
            case when wants_demo then 'Request a demo' else 'Newsletter' end as "Form",
            strftime(submitted_at, '%m/%d/%Y %I:%M:%S %p') as "Submitted",
            typed_email(email, person, 'lead') as "Work e-mail",
            first_name as "First name",
            last_name as "Last name",
            company as "Company",
            pick(['1-10', '11-50', '51-200', '201-1000', '1000+'], person, 'lead size') as "Company size",
            pick(['C-level', 'Director', 'Manager', 'Individual contributor'], person, 'lead level') as "Seniority",
            country as "Country",
            case when wants_demo then 'yes' else 'no' end as "Demo?",
            cookie as "Cookie"
        from (
            select *, 0 as copy from leads
            union all
            select *, 1 from leads where person % {world.every(world.visitors, 3)} = 0
        )
        order by submitted_at, person, copy
        """,
    )
    world.plant(
        "missing_required",
        "form_submissions",
        world.number(f"select count(*) from leads where person % {world.every(world.visitors, 3)} = 0"),
    )


def _draw_leads(world: World) -> None:
    # A lead's cookie is one of its sessions' where it has any, so that browsing before the form is found.
    world.run(
        f"""
        create or replace table leads as
        with cookies as (
            select person, min(cookie) as cookie from sessions
            where device < {KIOSK_KEYS} and device % 8 = 0 group by person
        )
        select
            actors.person,
            actors.email,
            actors.country,
            people.first_name,
            people.last_name,
            case when actors.part = 'visitor' then 'Firma ' || token(actors.person, 'lead company')
                else accounts.account_name end as company,
            chance(actors.person, 'wants a demo', 400000) as wants_demo,
            'a-' || token(cookies.cookie, 'cookie') as cookie,
            timestamp '{world.start}'
                + to_seconds(below(actors.person, 'submitted day', {world.days}) * 86400
                    + below(actors.person, 'submitted second', 82000)) as submitted_at
        from actors
        left join people on people.person = actors.person
        left join accounts on accounts.account = people.account
        left join cookies on cookies.person = actors.person
        where chance(actors.person, 'fills in a form', case actors.part when 'visitor' then 60000 else 40000 end)
            or actors.person < 4 or actors.person in ({world.customers}, {world.customers} + 1)
        """
    )
