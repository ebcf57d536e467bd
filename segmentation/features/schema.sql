-- Features beside the wide tables that dbt shapes (contract: dbt_project/models/features/customer_features.yml).

-- What the gate judges besides the rows themselves; one row.
create table if not exists features.candidate (
    row_count bigint not null,
    distinct_customers bigint not null,
    expected_customers bigint not null,      -- active in identity.customers
    missing_customers bigint not null,       -- active, without a row
    unexpected_customers bigint not null,    -- a row, not active
    as_of timestamp not null,                -- of the run
    min_row_as_of timestamp,                 -- of the rows
    max_row_as_of timestamp,
    future_rows bigint not null,             -- rows with a fact after as_of
    schema_fingerprint varchar not null,     -- of column names and types, in order
    contract_fingerprint varchar not null,   -- of the contract's; equal where the table keeps it
    run_id varchar not null,
    recorded_at timestamp not null
);

-- How full each feature is, and how old it may be; one row a feature.
create table if not exists features.candidate_columns (
    feature varchar not null,
    column_position integer not null,
    data_type varchar not null,
    concern varchar not null,                -- what it is computed from, as in intermediate.int_features__freshness
    max_age_seconds bigint not null,
    null_ratio double not null,
    zero_ratio double,                       -- numbers only
    run_id varchar not null,
    recorded_at timestamp not null,
    not_finite_rows bigint                   -- rows in which it is infinite, or no number at all
);

-- How old the newest fact behind each published feature is. Without any fact, age and freshness are unknown: null.
create table if not exists features.feature_freshness (
    feature varchar not null,
    max_event_at timestamp,
    age_seconds bigint,
    max_age_seconds bigint not null,
    is_fresh boolean,
    run_id varchar not null,
    recorded_at timestamp not null
);
