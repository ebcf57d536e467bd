-- Sync in the warehouse. The state database is the authority for everything below the candidate; these are
-- copies for comparison (desired) and for analysts (the rest).

-- What destinations of a view should hold: kind customer, alias (a merged id) or segments (one row).
create table if not exists sync.desired (
    view_id varchar not null,
    customer_id varchar not null,
    value varchar not null,
    version bigint not null
);

-- Which state sync.desired is a copy of; where it differs from the state database, the copy is made anew.
create table if not exists sync.desired_heads (
    view_id varchar primary key,
    head_seq bigint not null,
    head_ref varchar not null
);

create table if not exists sync.views (
    view_id varchar not null,
    purposes varchar not null,
    limits varchar not null,           -- segments in it, and segments withheld from it
    head_seq bigint not null,
    head_ref varchar not null,
    floor_seq bigint not null,
    floor_ref varchar not null,
    as_of timestamp not null,
    published_at timestamp not null
);

create table if not exists sync.destinations (
    destination varchar not null,
    view_id varchar not null,
    kind varchar not null,
    epoch bigint not null,
    acked_seq bigint,
    paused boolean not null,
    lease_owner varchar,
    status varchar not null,           -- waiting, delivering, delivered, failed, paused
    last_error varchar,
    as_of timestamp,
    updated_at timestamp
);

create table if not exists sync.runs (
    run_id varchar not null,
    view_id varchar not null,
    mode varchar not null,             -- none, log, snapshot
    base_seq bigint not null,
    base_ref varchar not null,
    head_seq bigint not null,
    commit_ref varchar not null,
    inserts bigint not null,
    updates bigint not null,
    deletes bigint not null,
    as_of timestamp not null,
    recorded_at timestamp not null
);

create table if not exists sync.receipts (
    receipt_id varchar not null,
    destination varchar not null,
    view_id varchar not null,
    epoch bigint not null,
    seq bigint not null,
    ref varchar not null,
    mode varchar not null,             -- none, log, snapshot
    rows_written bigint not null,
    rows_deleted bigint not null,
    rows_held bigint,                  -- null where the content was not read back
    digest varchar,                    -- SHA-256 over what was read back
    as_of timestamp not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

create table if not exists sync.reconciliations (
    reconciliation_id varchar not null,
    destination varchar not null,
    view_id varchar not null,
    seq bigint not null,
    checked bigint not null,
    differs bigint not null,
    missing bigint not null,
    extra bigint not null,
    pending bigint not null,
    repaired bigint not null,
    digest varchar not null,
    expected_digest varchar not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

create table if not exists sync.dead_letters (
    destination varchar not null,
    customer_id varchar not null,
    seq bigint not null,
    value varchar,
    reason varchar not null,
    attempts integer not null,
    first_failed_at timestamp not null,
    last_failed_at timestamp not null
);
