"""What is true of the made-up company, for tests and benchmarks alone.

Belongs here: tables of who is who, the parts people play, incidents and dirt. Does not belong here:
anything a stage reads; the truth lies outside the landing folder on purpose.

Files: `persons.parquet` (every identifier that truly belongs to a person), `accounts.parquet` (who works
where), `shared_identifiers.parquet` (identifiers of nobody in particular), `segments.parquet` (planted
segments), `incidents.parquet`, `dirt.parquet` (rows of each kind of dirt).
"""

import json
from datetime import datetime
from pathlib import Path

from segmentation.sample.cloud_bill import restatement_nano
from segmentation.sample.incidents import BAD_SERVICE, api_spike, bad_release, restated_month
from segmentation.sample.names import PLACEHOLDER_EMAILS, PLACEHOLDER_PHONES
from segmentation.sample.people import OWN_ACCOUNTS
from segmentation.sample.usage import HOUSEHOLD_DEVICE, KIOSK_KEYS
from segmentation.sample.world import World
from segmentation.warehouse import literal

_PERSONS = f"""
select person_id, id_type, id_value, source, origin from (
    select person, 'source_customer_id' as id_type, crm_id as id_value, 'crm' as source, 'record' as origin
    from people where crm_id is not null
    union all
    select person, 'source_customer_id', second_crm_id, 'crm', 'second_record'
    from people where second_crm_id is not null
    union all
    select person, 'source_customer_id', shop_id, 'shop', 'order'
    from people where person in (select person from orders where shop_id is not null)
    union all
    select person, 'user_id', user_id, null, 'login' from people where user_id is not null
    union all
    select person, 'email', email, null, 'record' from people
    union all
    select person, 'email', second_email, null, 'second_address' from people where second_email is not null
    union all
    select person, 'email', mistyped(email), null, 'typo'
    from people where person in (select person from orders where is_mistyped)
    union all
    select person, 'email', email, null, 'lead' from leads where person >= {{customers}}
    union all
    select person, 'phone', phone, null, 'record' from people where phone is not null
    union all
    select person, 'device_id', 'd-' || token(device, 'device'), null,
        case device % 8 when {HOUSEHOLD_DEVICE} then 'household' else 'own' end
    from (select distinct person, device from sessions where device < {KIOSK_KEYS})
    union all
    select person, 'anonymous_id', 'a-' || token(cookie, 'cookie'), null,
        case device % 8 when {HOUSEHOLD_DEVICE} then 'household' else 'own' end
    from (select distinct person, device, cookie from sessions where device < {KIOSK_KEYS})
)
join actors using (person)
order by person, id_type, id_value
"""

_SHARED = f"""
select distinct id_type, id_value, kind from (
    select 'device_id' as id_type, 'd-' || token(device, 'device') as id_value, 'kiosk' as kind
    from sessions where device >= {KIOSK_KEYS}
    union all
    select 'anonymous_id', 'a-' || token(cookie, 'cookie'), 'kiosk' from sessions where device >= {KIOSK_KEYS}
    union all
    select 'device_id', 'd-' || token(device, 'device'), 'household' from sessions
    where device < {KIOSK_KEYS} and device % 8 = {HOUSEHOLD_DEVICE}
    group by device having count(distinct person) > 1
    union all
    select 'anonymous_id', 'a-' || token(cookie, 'cookie'), 'household' from sessions
    where device < {KIOSK_KEYS} and device % 8 = {HOUSEHOLD_DEVICE}
    group by cookie having count(distinct person) > 1
    union all
    select 'email', unnest({list(PLACEHOLDER_EMAILS)}), 'placeholder'
    union all
    select 'phone', unnest({list(PLACEHOLDER_PHONES)}), 'placeholder'
)
order by id_type, id_value, kind
"""

_SEGMENTS = """
select person_id, part as label from people where part <> 'steady'
union all
select person_id, 'own_account' from people where email in {own}
union all
select distinct person_id, 'consent_withdrawn'
from decisions join people using (person) where decision = 'revoked'
order by person_id, label
"""

_ACCOUNTS = """
select person_id, account_id, account_role from people where account_id is not null order by person_id
"""


def write_truth(world: World, truth: Path) -> None:
    """Write the truth tables into an existing folder."""
    _draw_incidents(world)
    for name, query in (
        ("persons", _PERSONS.replace("{customers}", str(world.customers))),
        ("shared_identifiers", _SHARED),
        ("segments", _SEGMENTS.replace("{own}", str(tuple(OWN_ACCOUNTS)))),
        ("accounts", _ACCOUNTS),
        ("incidents", "select * from incidents order by started_at, kind"),
        ("dirt", "select kind, entity, row_count from planted order by kind, entity"),
    ):
        draft = truth / f"{name}.parquet.draft"
        world.run(f"copy ({query}) to {literal(str(draft))} (format parquet, compression zstd)")
        draft.replace(truth / f"{name}.parquet")


def _draw_incidents(world: World) -> None:
    spike, bad, month = api_spike(world), bad_release(world), restated_month(world)
    release = world.con.execute(
        f"select 'r' || (100 + date_diff('day', timestamp '{world.start}', timestamp '{bad.start}') // 7) || '.1'"
    ).fetchall()[0][0]
    rows: list[tuple[str, datetime, datetime, str | None, str]] = [
        ("api_spike", spike.start, spike.end, None, json.dumps({"label": "heavy_api"})),
        ("bad_release", bad.start, bad.end, BAD_SERVICE, json.dumps({"release": release})),
        (
            "bill_restated",
            datetime(month.year, month.month, 1),  # noqa: DTZ001 - tables hold naive UTC
            datetime(month.year + month.month // 12, month.month % 12 + 1, 1),  # noqa: DTZ001
            None,
            json.dumps({"effective_change_nano": restatement_nano(world)}),
        ),
    ]
    world.run(
        "create or replace table incidents "
        "(kind varchar, started_at timestamp, ended_at timestamp, service varchar, details json)"
    )
    world.con.executemany("insert into incidents values (?, ?, ?, ?, ?)", rows)
