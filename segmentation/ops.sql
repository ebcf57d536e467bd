-- What every stage shares: which proposals were made, and how their gates judged them.
create schema if not exists ops;

create sequence if not exists ops.candidate_seq;
create table if not exists ops.candidates (
    candidate_seq bigint primary key,
    stage varchar not null,
    candidate_id varchar not null,
    run_id varchar not null,
    as_of timestamp not null,
    created_at timestamp not null,
    published_at timestamp
);

create sequence if not exists ops.gate_result_seq;
create table if not exists ops.gate_results (
    gate_result_seq bigint primary key,
    gate_id varchar not null,
    stage varchar not null,
    asset varchar not null,
    materialisation varchar not null,
    suite varchar not null,
    severity varchar not null,
    passed boolean not null,
    observed json not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

-- Who decided what. Each row's hash covers the row and the hash before it (segmentation/audit.py).
create table if not exists ops.audit_log (
    seq bigint not null,
    acted_at timestamp not null,
    actor varchar not null,
    action varchar not null,
    subject varchar not null,          -- an id of ours, never a person's name or identifier
    detail varchar not null,           -- canonical JSON, without personal data
    hash varchar not null
);

-- Who asked to be erased: ids of ours alone, so that the request outlives what it erased (segmentation/erasure).
create table if not exists ops.erasures (
    erasure_id varchar not null,
    customer_id varchar not null,
    former_ids varchar[] not null,     -- ids that had been merged into it
    n_identifiers bigint not null,
    author varchar not null,
    reason varchar not null,
    key_id varchar not null,           -- key of the hashes by which re-sent identifiers are recognised
    requested_at timestamp not null,
    due_at timestamp not null
);

-- How far each place is with forgetting; the newest row of a place counts.
create table if not exists ops.erasure_sinks (
    erasure_id varchar not null,
    sink varchar not null,
    state varchar not null,            -- received, suppressed, running, finished, partial, failed, not_supported
    detail varchar not null,           -- JSON: counts and files, no personal data
    updated_at timestamp not null
);

-- What sources sent again about the erased, and was dropped before anybody could read it.
create table if not exists ops.suppressed_rows (
    run_id varchar not null,
    file_id bigint not null,
    entity varchar not null,
    was_refused boolean not null,      -- it would have gone to quarantine
    rows_dropped bigint not null,
    rows_stripped bigint not null,     -- loaded without a device or a cookie
    recorded_at timestamp not null
);
