-- The load ledger and the quarantine. The tables of the entities follow from entities.py.
create table if not exists sources.files (
    file_id bigint not null,
    entity varchar not null,
    source varchar not null,
    path varchar not null,
    sha256 varchar not null,
    bytes bigint not null,
    rows_read bigint not null,
    rows_loaded bigint not null,
    rows_duplicate bigint not null,
    rows_quarantined bigint not null,
    rows_late bigint not null default 0,
    rows_withheld bigint,              -- of the read, those whose person did not allow what they are for
    mapping_hash varchar not null,
    -- loaded: its rows are in the entity's table. Files of a held candidate are not entered.
    status varchar not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

-- What was not loaded because its person did not allow what it would be used for: counts alone, of rows that were
-- dropped and of values that were stripped from loaded rows.
create table if not exists sources.withheld (
    file_id bigint not null,
    source varchar not null,
    entity varchar not null,
    field varchar not null,            -- the column that was stripped; empty where the row was dropped
    purpose varchar not null,          -- the first of those asked for that was not allowed
    reason varchar not null,           -- refused, refused_then, undecided, undecided_then, part
    n_rows bigint not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

create table if not exists sources.quarantine (
    file_id bigint not null,
    entity varchar not null,
    source varchar not null,
    path varchar not null,
    line bigint not null,
    -- Codes of reasons.py, without any value; null in rows from before there were codes.
    reason_code varchar,
    -- In words, which may show a value.
    reason varchar not null,
    raw json not null,
    run_id varchar not null,
    recorded_at timestamp not null
);
