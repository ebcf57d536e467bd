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
