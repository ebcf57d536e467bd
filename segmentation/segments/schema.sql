-- What the rules say now, and what would be published, are the candidate's: segments.candidate (customer_id,
-- segment_key, via rule, include or pin), segments.candidate_membership and segments.candidate_effective are views
-- over one row of bits per customer, made with each candidate (decisions.py). Published, those rows are
-- segments.masks with segments.places: a second form of segments.membership, of use to the stages alone (masks.py).
-- One winner per customer and exclusive group, published with membership.
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
    group_key varchar,                 -- null in no group, and in several: definition -> '$.groups' has those by rank
    precedence integer,
    owner varchar not null,            -- empty for a draft without an owner
    catalog_file varchar not null,
    run_id varchar not null,
    recorded_at timestamp not null,
    name varchar,
    catalog_line integer,
    membership_hash varchar,           -- same as long as membership is decided the same way
    is_evaluated boolean,              -- false for a draft, a retired or an expired segment: nobody is in it
    purposes varchar[],                -- what members must have consented to
    destinations varchar[],
    pin_id varchar                     -- what held its membership in this publication, whatever the rule says
);

create table if not exists segments.groups (
    group_key varchar not null,
    name varchar not null,
    description varchar not null,
    parent_key varchar,
    default_segment varchar,
    is_costing boolean not null,       -- true for the one group that splits costs
    run_id varchar not null,
    recorded_at timestamp not null
);

-- Who was on an inclusion or exclusion list, as of the last publication.
create table if not exists segments.overrides (
    segment_key varchar not null,
    customer_id varchar,               -- null where no customer has the listed identifier
    side varchar not null,             -- include, exclude
    status varchar not null,           -- applied, unknown, expired
    reason varchar not null,
    until_date date,
    listed_in varchar not null,        -- file:line
    run_id varchar not null,
    recorded_at timestamp not null
);

-- Every publication, in order. A candidate is built against the newest one and can only follow that one.
create table if not exists segments.publications (
    publication_seq bigint not null,
    candidate_id varchar not null,
    as_of timestamp not null,
    features_candidate_id varchar,
    identity_event_seq bigint not null, -- newest identity event that the decisions know of
    members bigint not null,
    entered bigint not null,
    exited bigint not null,
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
    recorded_at timestamp not null,
    author varchar,                    -- who approved it, or svc:strata where nobody had to
    change_class varchar               -- metadata, non_breaking, breaking: against the version before
);

-- Published and current. A losing membership of an exclusive group is not here, it is in conflicts.
create table if not exists segments.membership (
    customer_id varchar not null,
    segment_key varchar not null,
    segment_version integer not null,
    entered_at timestamp not null,
    run_id varchar not null,
    recorded_at timestamp not null,
    via varchar                        -- rule, include or pin
);

-- change_seq rises strictly; of one customer's changes in a run, exits come before entries.
create table if not exists segments.membership_changes (
    change_seq bigint not null,
    customer_id varchar not null,
    segment_key varchar not null,
    change varchar not null,           -- enter, exit
    cause varchar not null,            -- data, rule, model, identity_merge, identity_split, consent, override, expiry, erasure, rollback
    segment_version integer not null,
    effective_at timestamp not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

-- In the segment at T, as known at T2: valid_from <= T < coalesce(valid_to, infinity) and
-- recorded_at <= T2 < coalesce(superseded_at, infinity). The version is the one that let the customer in.
create table if not exists segments.membership_history (
    customer_id varchar not null,
    segment_key varchar not null,
    segment_version integer not null,
    valid_from timestamp not null,
    valid_to timestamp,
    recorded_at timestamp not null,
    superseded_at timestamp,
    cause varchar not null,
    run_id varchar not null,
    exit_cause varchar                 -- null while valid_to is
);

create table if not exists segments.conflicts (
    customer_id varchar not null,
    group_key varchar not null,
    winner_key varchar not null,
    loser_key varchar not null,
    decided_by varchar not null,       -- precedence, tie_break, pin
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

-- Who let which change of definitions go live: a step from what was live to what the catalog said (approvals.py).
create table if not exists segments.approvals (
    approval_seq bigint not null,
    unit_key varchar not null,         -- group:KEY, segment:KEY or policy
    base_hash varchar not null,
    target_hash varchar not null,
    plan_hash varchar not null,
    approver varchar not null,
    reason varchar not null,
    approved_at timestamp not null,
    base_publication_seq bigint,       -- publication that the plan was made on
    publication_seq bigint,            -- publication that took the step, and used the approval up
    ended_at timestamp,                -- null while it can approve its step
    ended_by varchar,                  -- who withdrew it; svc:strata where it was used, or its unit took another step
    ended_reason varchar
);

-- The policies that were in force; the newest is.
create table if not exists segments.policies (
    policy_seq bigint not null,
    policy json not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

-- What the last publication kept as it was, because nobody has approved its change.
create table if not exists segments.held_changes (
    unit_key varchar not null,
    subject varchar not null,          -- the segment or group, or policy
    what varchar not null,             -- added, changed, removed
    change_class varchar not null,
    reasons varchar[] not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

-- Each pair of segments in force once, the lower key first. Claims are what rules and lists ask for, before precedence
-- decides within an exclusive group.
create table if not exists segments.overlaps (
    segment_key varchar not null,
    other_segment_key varchar not null,
    members bigint not null,
    other_members bigint not null,
    shared bigint not null,            -- customers in both
    claims bigint not null,
    other_claims bigint not null,
    shared_claims bigint not null,     -- customers whom both claim
    run_id varchar not null,
    recorded_at timestamp not null
);

-- What people hold a segment's membership to, whatever its rule says (pins.py). At most one is in force per segment.
create table if not exists segments.pins (
    pin_id varchar not null,           -- pin and the number of its row in the audit log
    segment_key varchar not null,
    kind varchar not null,             -- freeze, kill, rollback
    author varchar not null,
    reason varchar not null,
    publication_seq bigint,            -- publication whose members it holds; null for a kill
    held_as_of timestamp,              -- the moment that this publication describes
    held_version integer,              -- version that was in force then
    members bigint not null,           -- how many were members then, erased customers included
    started_at timestamp not null,
    ended_at timestamp,                -- null while it is in force
    ended_by varchar,
    ended_reason varchar
);

-- Who a pin holds, by their ids when it was made; a kill holds nobody.
create table if not exists segments.pin_members (
    pin_id varchar not null,
    customer_id varchar not null
);

-- Versions that held, or hold, for some customers beside the version before (canaries.py). Of a segment the newest is
-- the one of its live definition, where that is a canary.
create table if not exists segments.canaries (
    canary_seq bigint not null,
    segment_key varchar not null,
    definition_hash varchar not null,  -- of what it tries: rule, lists, consent and residency
    base_version integer,              -- null where it stands beside nobody
    base_definition json,
    purposes varchar[] not null,       -- what members by the canary must have consented to
    base_purposes varchar[] not null,
    percent integer not null,          -- share of customers for whom it holds while it is running or paused
    started_at timestamp not null,
    hold_until timestamp not null,     -- when it can be promoted
    state varchar not null,            -- running, paused, promoted, aborted
    ended_at timestamp,                -- null while it is running or paused
    ended_by varchar,
    reason varchar,                    -- why it was ended, or is paused
    checks json not null,              -- what its metrics said in the last run that asked them
    run_id varchar not null,
    recorded_at timestamp not null
);

-- Every segment with members, or that could have some, as each publication decided it.
create table if not exists segments.publication_segments (
    publication_seq bigint not null,
    segment_key varchar not null,
    segment_version integer not null,
    is_evaluated boolean not null,
    pin_id varchar,                    -- null where its rule and lists decided
    members bigint not null,
    entered bigint not null,
    exited bigint not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

-- Which accounts are in which segment of accounts; their customers are in segments.membership, via account.
create table if not exists segments.account_membership (
    account_id varchar not null,
    segment_key varchar not null,
    segment_version integer not null,
    entered_at timestamp not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

-- Days for which somebody asked who would have been in a segment, and what came of it (backfill_days.py). Nothing here
-- is live: no stage reads it.
create table if not exists segments.backfill_days (
    segment_key varchar not null,
    segment_version integer not null,  -- the version that decided, whichever was live on that day
    day date not null,
    state varchar not null,            -- asked, done
    as_of timestamp not null,          -- last second of the day, UTC
    purposes varchar[] not null,       -- what members must have consented to, then and now
    definition_hash varchar not null,
    decision_hash varchar,             -- of every definition and list entry that had a part; null while asked
    features_digest varchar,           -- of the features that rules asked for, whatever the order of rows
    publication_seq bigint,            -- newest publication when the data was copied
    members bigint,
    author varchar not null,
    reason varchar not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

-- Who was in a segment at the end of a day, as recomputed: what every row of backfill_days that is done has found.
create table if not exists segments.backfills (
    segment_key varchar not null,
    segment_version integer not null,
    day date not null,
    customer_id varchar not null,
    run_id varchar not null,
    recorded_at timestamp not null
);
