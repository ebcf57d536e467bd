"""The truth agrees with the files, and everything that was to be planted is there."""

from pathlib import Path

import phonenumbers

from segmentation.identity.normalise import normalise_email, normalise_phone

ROOT = Path(__file__).resolve().parents[3]
QUIET = "timestamp '2026-11-01' - interval 45 day"


def number(con, sql: str) -> int:
    return con.execute(sql).fetchall()[0][0]


def rows(con, sql: str) -> list:
    return con.execute(sql).fetchall()


def label(name: str) -> str:
    """Query for the user ids of the people who play a part."""
    return f"""(
        select id_value from truth.persons where id_type = 'user_id'
        and person_id in (select person_id from truth.segments where label = '{name}')
    )"""


def test_every_identifier_in_the_files_belongs_to_somebody_or_is_shared(loaded) -> None:
    for entity, column in (
        ("customer_records", "source_customer_id"),
        ("orders", "source_customer_id"),
        ("events", "user_id"),
        ("requests", "user_id"),
        ("subscriptions", "user_id"),
        ("consent_events", "user_id"),
        ("events", "device_id"),
        ("events", "anonymous_id"),
        ("form_submissions", "anonymous_id"),
    ):
        strangers = f"""
            select count(*) from sources.{entity} where {column} is not null
            and {column} not in (select id_value from truth.persons where id_type = '{column}')
            and {column} not in (select id_value from truth.shared_identifiers where id_type = '{column}')
        """
        assert number(loaded, strangers) == 0, (entity, column)
        assert number(loaded, f"select count({column}) from sources.{entity}") > 0, (entity, column)


def test_written_addresses_and_numbers_mean_the_person_that_the_truth_says(loaded) -> None:
    emails = {value for (value,) in rows(loaded, "select id_value from truth.persons where id_type = 'email'")}
    phones = {value for (value,) in rows(loaded, "select id_value from truth.persons where id_type = 'phone'")}
    placeholders = {
        value for (value,) in rows(loaded, "select id_value from truth.shared_identifiers where kind = 'placeholder'")
    }
    written = set()
    for entity in ("customer_records", "orders", "events", "tickets", "form_submissions", "invoices"):
        written |= {
            raw for (raw,) in rows(loaded, f"select distinct email from sources.{entity} where email is not null")
        }
    strange = {raw for raw in written - placeholders if normalise_email(raw).id_value not in emails}
    assert not strange
    # Every way of writing is there: upper case, space around, a no-break space, a full-width at sign.
    assert any(raw.isupper() for raw in written)
    assert any(raw.startswith(" ") for raw in written)
    assert any(raw.endswith("\u00a0") for raw in written)
    assert any("\uff20" in raw for raw in written)
    numbers = rows(loaded, "select distinct phone, country from sources.customer_records where phone is not null")
    assert len({raw[:2] for raw, _ in numbers}) > 5
    for raw, country in numbers:
        assert raw in placeholders or normalise_phone(raw, country).id_value in phones, raw
    assert all(phonenumbers.is_valid_number(phonenumbers.parse(phone)) for phone in phones)


def test_no_identifier_belongs_to_two_people_unless_it_is_shared(loaded) -> None:
    twice = """
        select count(*) from (
            select id_type, source, id_value from truth.persons
            group by all having count(distinct person_id) > 1
        ) as shared
        anti join truth.shared_identifiers using (id_type, id_value)
    """
    assert number(loaded, twice) == 0
    people = "select count(distinct person_id) from truth.persons where person_id like 'P%'"
    assert number(loaded, people) == 700
    assert number(loaded, people.replace("P%", "V%")) > 100


def test_identifiers_of_a_row_are_one_persons(loaded) -> None:
    mixed = """
        select count(*) from sources.events as events
        join truth.persons as a on a.id_type = 'user_id' and a.id_value = events.user_id
        join truth.persons as b on b.id_type = 'email' and b.id_value = events.email
        where a.person_id <> b.person_id
    """
    assert number(loaded, mixed) == 0


def test_shared_devices_are_shared(loaded) -> None:
    users = dict(
        rows(
            loaded,
            """
            select device_id, count(distinct user_id) from sources.events group by device_id
            """,
        )
    )
    shared = rows(loaded, "select id_value, kind from truth.shared_identifiers where id_type = 'device_id'")
    kiosks = [value for value, kind in shared if kind == "kiosk"]
    households = [value for value, kind in shared if kind == "household"]
    assert kiosks
    assert max(users[value] for value in kiosks) >= 5
    assert households
    assert max(users[value] for value in households) == 2
    others = [count for value, count in users.items() if value not in {*kiosks, *households}]
    assert max(others) == 1


def test_each_planted_kind_of_dirt_is_there(loaded) -> None:
    dirt = {(kind, entity): count for kind, entity, count in rows(loaded, "select * from truth.dirt")}
    for planted in (
        ("late", "events"),
        ("mistyped_email", "orders"),
        ("placeholder_email", "orders"),
        ("second_record", "customer_records"),
        ("withdrawn", "consent_events"),
    ):
        assert dirt[planted] > 0
    typed = number(loaded, "select count(distinct order_id) from sources.orders where email like '%.exmaple'")
    assert typed == dirt["mistyped_email", "orders"]
    placeholders = number(
        loaded,
        """
        select count(distinct order_id) from sources.orders
        where email in (select id_value from truth.shared_identifiers where kind = 'placeholder')
        """,
    )
    assert placeholders == dirt["placeholder_email", "orders"]
    second = "select count(*) from truth.persons where origin = 'second_record'"
    assert number(loaded, second) == dirt["second_record", "customer_records"]
    withdrawn = "select count(*) from sources.consent_events where consent_state = 'withdrawn'"
    assert number(loaded, withdrawn) == dirt["withdrawn", "consent_events"]


def test_late_events_come_in_a_later_file(loaded) -> None:
    late = rows(
        loaded,
        """
        select occurred_at, received_at, path from sources.events
        join sources.files on files.file_id = events.file_id
        where received_at > occurred_at + interval 20 hour
        """,
    )
    planted = number(loaded, "select row_count from truth.dirt where kind = 'late' and entity = 'events'")
    # The last event of a session sent twice is planted once and loaded once.
    assert len(late) == planted
    assert any(occurred.strftime("%Y%m%d") < path.split("_")[-2] for occurred, _, path in late)


def test_parts_are_played(loaded) -> None:
    heavy = rows(
        loaded, "select user_id, count(*) from sources.requests where user_id is not null group by 1 order by 2 desc"
    )
    heavy_users = {value for (value,) in rows(loaded, f"from {label('heavy_api')}")}
    assert heavy[0][0] in heavy_users
    assert sum(count for user, count in heavy if user in heavy_users) > 0.5 * sum(count for _, count in heavy)
    seen = f"select count(*) from sources.events where user_id in {label('churner')}"
    assert number(loaded, seen) > 0
    assert number(loaded, f"{seen} and occurred_at >= {QUIET}") == 0
    fraud = f"from sources.orders where user_id in {label('fraudster')}"
    assert number(loaded, f"select count(distinct card_fingerprint) {fraud}") > 5
    assert number(loaded, f"select count(chargeback_at) {fraud}") > 0
    spend = "select sum(amount_micros) / (select count(*) from {who}) from sources.orders where user_id in {who}"
    vip, late = (number(loaded, spend.format(who=label(part))) for part in ("vip", "late_payer"))
    assert vip > 3 * late
    lateness = "select count(*) from sources.invoices where paid_at > due_at and user_id in " + label("late_payer")
    assert number(loaded, lateness) > 0
    tickets = f"select count(distinct ticket_id) / (select count(*) from {label('support_heavy')}) from sources.tickets"
    assert number(loaded, f"{tickets} where user_id in {label('support_heavy')}") > 1
    new = f"select min(occurred_at) from sources.events where user_id in {label('new_customer')}"
    assert rows(loaded, new)[0][0] > rows(loaded, "select timestamp '2026-11-01' - interval 16 day")[0][0]
    parts = {value for (value,) in rows(loaded, "select distinct label from truth.segments")}
    assert parts == {
        "heavy_api",
        "vip",
        "churner",
        "fraudster",
        "new_customer",
        "late_payer",
        "support_heavy",
        "consent_withdrawn",
        "own_account",
    }
    excluded = (ROOT / "catalog" / "lists" / "own_test_accounts.csv").read_text()
    own = rows(
        loaded,
        """
        select id_value, label from truth.persons join truth.segments using (person_id)
        where person_id in (select person_id from truth.segments where label = 'own_account')
        and label <> 'own_account' and id_type = 'email' and origin = 'record'
        """,
    )
    assert sorted(part for _, part in own if part != "consent_withdrawn") == ["fraudster", "support_heavy"]
    assert all(email in excluded for email, _ in own)


def test_incidents_show_in_telemetry(loaded) -> None:
    incidents = {
        row[0]: row for row in rows(loaded, "select kind, started_at, ended_at, service, details from truth.incidents")
    }
    assert set(incidents) == {"api_spike", "bad_release", "bill_restated"}
    _, start, end, service, _ = incidents["bad_release"]
    bad = rows(
        loaded,
        f"""
        select avg((status_code >= 500)::int), median(latency_ms), any_value(release), count(*) from sources.requests
        where service = '{service}' and occurred_at >= timestamp '{start}' and occurred_at < timestamp '{end}'
        """,
    )[0]
    usual = rows(
        loaded,
        f"""
        select avg((status_code >= 500)::int), median(latency_ms), count(distinct release) from sources.requests
        where service = '{service}' and (occurred_at < timestamp '{start}' or occurred_at >= timestamp '{end}')
        """,
    )[0]
    assert bad[3] > 20
    assert bad[0] > 0.12
    assert usual[0] < 0.02
    assert bad[1] > 3 * usual[1]
    assert usual[2] > 5
    assert bad[2] not in {
        value
        for (value,) in rows(
            loaded, f"select distinct release from sources.requests where occurred_at < timestamp '{start}'"
        )
    }
    _, start, end, _, _ = incidents["api_spike"]
    window = f"occurred_at >= timestamp '{start}' and occurred_at < timestamp '{end}'"
    hours = (end - start).total_seconds() / 3600
    in_spike = number(loaded, f"select count(*) from sources.requests where {window}") / hours
    outside = number(loaded, f"select count(*) from sources.requests where not ({window})") / (90 * 24)
    assert in_spike > 4 * outside
    throttled = f"select avg(is_throttled::int) from sources.requests where {window}"
    assert number(loaded, throttled) > 0.2


def test_bill_adds_up_and_is_restated(loaded) -> None:
    version = "row_number() over (partition by charge_id order by file_id desc, line desc)"
    newest = f"(select * from sources.charges qualify {version} = 1)"
    oldest = newest.replace("desc", "asc")
    change = number(
        loaded,
        "select (details ->> '$.effective_change_nano')::bigint from truth.incidents where kind = 'bill_restated'",
    )
    difference = f"""
        select (1000000000 * (
            (select sum(effective_cost) from {newest})
            - (select sum(effective_cost) from {oldest} where charge_class is null)
        ))::bigint
    """
    assert number(loaded, difference) == change != 0
    corrections = "select count(*) from sources.charges where charge_class = 'Correction'"
    assert number(loaded, corrections) == 3
    # What the commitment costs is used or unused, to the last digit.
    commitment = f"""
        select billing_period_start, sum(billed_cost) - sum(effective_cost) from {newest}
        where charge_category = 'Purchase' or commitment_discount_status is not null group by 1
    """
    assert {left for _, left in rows(loaded, commitment)} == {0}
    tags = {value for (value,) in rows(loaded, "select distinct tags ->> '$.segment' from sources.charges")}
    assert tags == {"vip", "vpi", None}
    assert number(loaded, "select count(distinct billing_period_start) from sources.charges") == 3
    days = "select count(distinct charge_period_start::date) from sources.charges where charge_category = 'Usage'"
    assert number(loaded, days) == 90
    categories = {value for (value,) in rows(loaded, "select distinct service_category from sources.charges")}
    assert {"Compute", "Databases", "Storage", "Networking", "Other"} == categories


def test_references_hold(loaded) -> None:
    for child, key, parent in (
        ("order_lines", "order_id", "orders"),
        ("invoices", "subscription_id", "subscriptions"),
        ("customer_records", "account_id", "accounts"),
        ("subscriptions", "account_id", "accounts"),
        ("requests", "account_id", "accounts"),
        ("tickets", "account_id", "accounts"),
    ):
        orphans = f"""
            select count(*) from sources.{child}
            where {key} is not null and {key} not in (select {key} from sources.{parent})
        """
        assert number(loaded, orphans) == 0, (child, key)
    without_order_lines = (
        "select count(*) from sources.orders where order_id not in (select order_id from sources.order_lines)"
    )
    assert number(loaded, without_order_lines) == 0
    members = rows(
        loaded,
        """
        select count(*), count(distinct account_id), count(*) filter (where account_role = 'owner') from truth.accounts
        """,
    )[0]
    assert members[0] > members[1] == members[2]


def test_orders_cost_what_their_lines_cost(loaded) -> None:
    differences = """
        select count(*) from (
            select order_id, any_value(amount_micros) as ordered from sources.orders group by order_id
        ) join (
            select order_id, sum(quantity * unit_price_micros) as lined from sources.order_lines
            where quantity > 0 group by order_id
        ) using (order_id) where lined <> ordered
    """
    assert number(loaded, differences) == 0
    returned = number(loaded, "select count(*) from sources.order_lines where quantity < 0")
    assert returned > 0


def test_volumes_are_as_asked(sample) -> None:
    events = sample.report.rows["app_events"] + sample.report.rows["gateway_requests"]
    assert 0.93 < events / (700 * 20) < 1.07
    assert 1.8 < sample.report.rows["shop_orders"] / 700 < 2.5
    assert sample.report.rows["crm_contacts"] > 600


def test_activity_is_heavy_tailed(loaded) -> None:
    share = """
        with counts as (
            select user_id, count(*) as n from sources.events where user_id is not null group by user_id
        )
        select sum(n) filter (where place <= 0.2) / sum(n)
        from (select n, percent_rank() over (order by n desc) as place from counts)
    """
    assert number(loaded, share) > 0.4
