"""The canonical entities: what every source is mapped to.

Belongs here: names, types and keys of ``sources.<entity>``. Does not belong here: how a file becomes one
(`feeds.py`, `staging.py`) or what its values mean to identity (`segmentation/identity`).

Identity columns are carried as they came; nothing here normalises. Every table also has the columns of
``PROVENANCE``. Rows are append-only: a changed row of the same key is a new row, and readers take the
one with the highest ``(file_id, line)`` of a key.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A canonical column: DuckDB type, and whether a row without it goes to quarantine."""

    name: str
    type: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Entity:
    """A canonical entity.

    Attributes:
        name: Table name in schema ``sources``.
        key: Natural key within a source; ``source`` itself is always its first part.
        event_time: Column that says when it happened, for freshness and late rows.
        columns: Canonical columns, without provenance.
    """

    name: str
    key: tuple[str, ...]
    event_time: str
    columns: tuple[Column, ...]

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the canonical columns, in order."""
        return tuple(column.name for column in self.columns)


#: Columns that loading adds to every entity.
PROVENANCE: tuple[Column, ...] = (
    Column("source", "VARCHAR", required=True),
    Column("file_id", "BIGINT", required=True),
    Column("line", "BIGINT", required=True),
    Column("run_id", "VARCHAR", required=True),
    Column("recorded_at", "TIMESTAMP", required=True),
)

#: Columns that name a customer, best identifier first. A row carries those its source knows.
IDENTITY_COLUMNS: tuple[str, ...] = (
    "source_customer_id",
    "user_id",
    "email",
    "phone",
    "device_id",
    "anonymous_id",
)

_IDENTITY = tuple(Column(name, "VARCHAR") for name in IDENTITY_COLUMNS)


def _entity(name: str, key: str, event_time: str, columns: str, *, identity: bool = True) -> Entity:
    """Build an entity from lines of ``name TYPE [required]``."""
    parsed = tuple(
        Column(parts[0], parts[1], required=parts[2:] == ["required"])
        for parts in (line.split() for line in columns.strip().splitlines())
    )
    names = {column.name for column in parsed}
    extra = tuple(column for column in _IDENTITY if identity and column.name not in names)
    return Entity(name, tuple(key.split()), event_time, parsed + extra)


_ALL = (
    _entity(
        "customer_records",
        "source_customer_id",
        "updated_at",
        """
        source_customer_id VARCHAR required
        email_is_verified BOOLEAN
        first_name VARCHAR
        last_name VARCHAR
        company_name VARCHAR
        country VARCHAR
        city VARCHAR
        postal_code VARCHAR
        birth_date DATE
        residency_region VARCHAR
        account_id VARCHAR
        account_role VARCHAR
        created_at TIMESTAMP
        updated_at TIMESTAMP required
        """,
    ),
    _entity(
        "accounts",
        "account_id",
        "updated_at",
        """
        account_id VARCHAR required
        account_name VARCHAR
        industry VARCHAR
        company_size BIGINT
        country VARCHAR
        residency_region VARCHAR
        created_at TIMESTAMP
        updated_at TIMESTAMP required
        """,
        identity=False,
    ),
    _entity(
        "subscriptions",
        "subscription_id",
        "updated_at",
        """
        subscription_id VARCHAR required
        account_id VARCHAR
        plan VARCHAR required
        subscription_status VARCHAR required
        seats BIGINT
        mrr_micros BIGINT
        currency VARCHAR
        started_at TIMESTAMP
        renews_at TIMESTAMP
        cancelled_at TIMESTAMP
        updated_at TIMESTAMP required
        """,
    ),
    _entity(
        "invoices",
        "invoice_id",
        "updated_at",
        """
        invoice_id VARCHAR required
        account_id VARCHAR
        subscription_id VARCHAR
        invoice_status VARCHAR required
        amount_micros BIGINT required
        currency VARCHAR
        issued_at TIMESTAMP required
        due_at TIMESTAMP
        paid_at TIMESTAMP
        updated_at TIMESTAMP required
        """,
    ),
    _entity(
        "orders",
        "order_id",
        "ordered_at",
        """
        order_id VARCHAR required
        order_status VARCHAR required
        ordered_at TIMESTAMP required
        amount_micros BIGINT
        currency VARCHAR
        country VARCHAR
        channel VARCHAR
        card_fingerprint VARCHAR
        chargeback_at TIMESTAMP
        updated_at TIMESTAMP
        """,
    ),
    _entity(
        "order_lines",
        "order_id order_line_id",
        "ordered_at",
        """
        order_id VARCHAR required
        order_line_id VARCHAR required
        ordered_at TIMESTAMP required
        sku VARCHAR
        description VARCHAR
        quantity BIGINT required
        unit_price_micros BIGINT required
        """,
        identity=False,
    ),
    _entity(
        "events",
        "event_id",
        "occurred_at",
        """
        event_id VARCHAR required
        event_type VARCHAR required
        occurred_at TIMESTAMP required
        received_at TIMESTAMP
        session_id VARCHAR
        platform VARCHAR
        channel VARCHAR
        page VARCHAR
        """,
    ),
    _entity(
        "requests",
        "request_id",
        "occurred_at",
        """
        request_id VARCHAR required
        occurred_at TIMESTAMP required
        account_id VARCHAR
        service VARCHAR required
        endpoint VARCHAR
        status_code BIGINT required
        latency_ms DOUBLE
        is_throttled BOOLEAN
        compute_ms DOUBLE
        release VARCHAR
        """,
    ),
    _entity(
        "tickets",
        "ticket_id",
        "updated_at",
        """
        ticket_id VARCHAR required
        account_id VARCHAR
        category VARCHAR
        priority VARCHAR
        ticket_status VARCHAR required
        opened_at TIMESTAMP required
        closed_at TIMESTAMP
        csat_score BIGINT
        updated_at TIMESTAMP required
        """,
    ),
    _entity(
        "consent_events",
        "consent_event_id",
        "occurred_at",
        """
        consent_event_id VARCHAR required
        purpose VARCHAR required
        consent_state VARCHAR required
        policy_version VARCHAR
        jurisdiction VARCHAR
        occurred_at TIMESTAMP required
        """,
    ),
    _entity(
        "form_submissions",
        "submission_id",
        "submitted_at",
        """
        submission_id VARCHAR required
        form_name VARCHAR required
        submitted_at TIMESTAMP required
        first_name VARCHAR
        last_name VARCHAR
        company_name VARCHAR
        company_size BIGINT
        job_level VARCHAR
        country VARCHAR
        is_demo_requested BOOLEAN
        """,
    ),
    # FOCUS columns by their standard meaning, in snake case. Amounts stay decimal here: costs quantises.
    _entity(
        "charges",
        "charge_id",
        "charge_period_start",
        """
        charge_id VARCHAR required
        billing_account_id VARCHAR
        billing_account_name VARCHAR
        billing_period_start TIMESTAMP required
        billing_period_end TIMESTAMP required
        charge_period_start TIMESTAMP required
        charge_period_end TIMESTAMP required
        charge_category VARCHAR required
        charge_class VARCHAR
        charge_description VARCHAR
        charge_frequency VARCHAR
        provider_name VARCHAR
        publisher_name VARCHAR
        invoice_issuer_name VARCHAR
        service_category VARCHAR
        service_name VARCHAR
        sku_id VARCHAR
        resource_id VARCHAR
        region_id VARCHAR
        pricing_quantity DECIMAL(38,12)
        pricing_unit VARCHAR
        consumed_quantity DECIMAL(38,12)
        consumed_unit VARCHAR
        billed_cost DECIMAL(38,12) required
        effective_cost DECIMAL(38,12) required
        list_cost DECIMAL(38,12)
        contracted_cost DECIMAL(38,12)
        billing_currency VARCHAR required
        commitment_discount_status VARCHAR
        tags JSON
        """,
        identity=False,
    ),
    _entity(
        "experiment_exposures",
        "exposure_id",
        "exposed_at",
        """
        exposure_id VARCHAR required
        experiment_key VARCHAR required
        variant VARCHAR required
        exposed_at TIMESTAMP required
        """,
    ),
)

#: Every canonical entity by name.
ENTITIES: dict[str, Entity] = {entity.name: entity for entity in _ALL}

#: Entities whose rows hang on another entity's and name nobody themselves: the whole, and the column of both.
PARTS: dict[str, tuple[str, str]] = {"order_lines": ("orders", "order_id")}
