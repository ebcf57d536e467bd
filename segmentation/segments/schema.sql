-- What the rules say now: the candidate that the gate judges.
create table if not exists segments.candidate (
    customer_id varchar not null,
    segment_key varchar not null,
    via varchar not null               -- rule, include, exclude, account, model, override
);

-- One winner per customer and exclusive group, of the candidate; published with it.
create table if not exists segments.effective (
    customer_id varchar not null,
    group_key varchar not null,
    segment_key varchar not null
);

create table if not exists segments.catalog (
    segment_key varchar primary key,
    segment_version integer not null,
    definition_hash varchar not null,
    definition json not null,
    rule_sql varchar,
    lifecycle varchar not null,
    group_key varchar,
    precedence integer,
    owner varchar not null,
    catalog_file varchar not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

create table if not exists segments.versions (
    segment_key varchar not null,
    segment_version integer not null,
    definition_hash varchar not null,
    definition json not null,
    rule_sql varchar,
    first_run_id varchar not null,
    first_as_of timestamp not null,
    recorded_at timestamp not null
);

-- Published and current. A losing membership of an exclusive group is not here, it is in conflicts.
create table if not exists segments.membership (
    customer_id varchar not null,
    segment_key varchar not null,
    segment_version integer not null,
    entered_at timestamp not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

create table if not exists segments.membership_changes (
    change_seq bigint primary key,
    customer_id varchar not null,
    segment_key varchar not null,
    change varchar not null,           -- enter, exit
    cause varchar not null,            -- data, rule, model, identity_merge, identity_split, consent, override, expiry, erasure, rollback
    segment_version integer not null,
    effective_at timestamp not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

create table if not exists segments.membership_history (
    customer_id varchar not null,
    segment_key varchar not null,
    segment_version integer not null,
    valid_from timestamp not null,
    valid_to timestamp,
    recorded_at timestamp not null,
    superseded_at timestamp,
    cause varchar not null,
    run_id varchar not null
);

create table if not exists segments.conflicts (
    customer_id varchar not null,
    group_key varchar not null,
    winner_key varchar not null,
    loser_key varchar not null,
    decided_by varchar not null,       -- precedence, tie_break
    run_id varchar not null,
    recorded_at timestamp not null
);

create table if not exists segments.sizes_daily (
    size_date date not null,
    segment_key varchar not null,
    segment_version integer not null,
    members bigint not null,
    entered bigint not null,
    exited bigint not null,
    run_id varchar not null,
    recorded_at timestamp not null
);
