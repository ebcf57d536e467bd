-- Published identity: what later stages may read. Candidate tables are the stage's own business.
-- Published tables are replaced whole by judged candidates, so keys are truths of the gate, not indexes.
-- Customer ids are many and short: trying to compress them costs four times what writing them as they are does.

-- Every identifier any run ever met, under a dense node_id that is never reused. Internal.
create table if not exists identity.registry (
    node_id bigint not null,
    id_type varchar not null,
    id_namespace varchar not null,
    id_value varchar not null using compression zstd,
    is_raw boolean                     -- met in a source exactly so, and read under the rules in force
);

-- Every other raw value any run ever met, and its identifier; node_id is null where it has none. Internal.
create table if not exists identity.normalised_values (
    id_type varchar not null,
    id_namespace varchar not null,     -- the source for source_customer_id, as it stands in sources.<entity>
    region varchar not null,           -- country that a phone number without one was read in
    raw_value varchar not null using compression zstd,
    node_id bigint,
    problem varchar
);

-- Identifiers that a raw value stood for under other rules for normal forms, such as a mailbox whose provider the
-- catalog does not name any more: an erasure takes them along. Internal.
create table if not exists identity.former_nodes (
    node_id bigint not null,
    former_node_id bigint not null
);

-- Fingerprint of the rules that made identity.normalised_values. Internal.
create table if not exists identity.normalisation (normalisation_hash varchar not null);

-- What was read of the sources: rows by the identifiers they name and the kind of evidence they are; a
-- combination may stand here more than once. Internal.
create table if not exists identity.sightings (
    kind_code integer not null,
    source_customer_id bigint,         -- node ids
    user_id bigint,
    email bigint,
    phone bigint,
    device_id bigint,
    anonymous_id bigint,
    first_seen_at timestamp not null,
    last_seen_at timestamp not null,
    n_obs bigint not null              -- rows
);

-- Kinds of evidence in identity.sightings. Internal.
create table if not exists identity.sighting_kinds (
    kind_code integer not null,
    entity varchar not null,
    source varchar not null,
    evidence varchar not null
);

-- How far each entity was read into identity.sightings, and by what the rows read are known again. Internal.
create table if not exists identity.readings (
    entity varchar not null,
    rules_hash varchar not null,
    as_of timestamp not null,          -- no later row was read
    file_id bigint not null,           -- nor one of a later file
    row_count bigint not null,
    content_hash hugeint not null,
    rows_without_identifier bigint not null, -- of row_count, those that name nobody
    oversized_values bigint not null,  -- values in these rows that are too long
    registry_size bigint not null,
    n_sightings bigint not null        -- when it was last read from the start
);

create table if not exists identity.identifiers (
    node_id bigint not null,
    id_type varchar not null,          -- source_customer_id, user_id, email, phone, device_id, anonymous_id
    id_namespace varchar not null,     -- the source for source_customer_id, '' for types that are global
    id_value varchar not null using compression zstd, -- normalised
    status varchar not null,           -- active, blocked, shared, erased
    status_rule varchar,
    status_reason varchar,             -- the rule in words
    is_verified boolean not null,      -- a customer record says that this e-mail is verified
    first_seen_at timestamp not null,
    last_seen_at timestamp not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

create table if not exists identity.edges (
    node_a bigint not null,
    node_b bigint not null,
    source varchar not null,
    evidence varchar not null,
    tier integer not null,
    match_probability double,
    n_obs bigint not null,
    first_seen_at timestamp not null,
    last_seen_at timestamp not null,
    admitted boolean not null,
    reject_rule varchar,
    reject_reason varchar,             -- the rule in words
    run_id varchar not null,
    recorded_at timestamp not null
);

-- What the solution follows from beyond edges and identifiers, for the next run to compare with. Internal.
create table if not exists identity.solve_inputs (
    kind varchar not null,             -- rules: their fingerprint; owner: accounts of one person; bar: kept apart
    node_a bigint,
    node_b bigint,
    detail varchar,
    run_id varchar not null,
    recorded_at timestamp not null
);

create table if not exists identity.customers (
    customer_id varchar using compression uncompressed not null,
    customer_seq bigint not null,      -- what customer_id spells in base32
    anchor_node_id bigint not null,
    anchor_priority integer not null,
    status varchar not null,           -- active, merged, retired, erased
    merged_into varchar,
    match_basis varchar not null,      -- deterministic, probabilistic, manual
    n_nodes bigint not null,
    created_at timestamp not null,     -- as_of of the run that minted the id
    first_seen_at timestamp not null,  -- earliest sighting of any of its identifiers
    run_id varchar not null,
    recorded_at timestamp not null
);

create table if not exists identity.identifier_map (
    node_id bigint not null,
    customer_id varchar using compression uncompressed not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

create table if not exists identity.identifier_map_history (
    node_id bigint not null,
    customer_id varchar using compression uncompressed not null,
    valid_from timestamp not null,
    valid_to timestamp,
    run_id varchar not null,
    recorded_at timestamp not null
);

create table if not exists identity.customer_aliases (
    old_customer_id varchar not null,
    customer_id varchar not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

-- customer_id is whose status changed: create and split name the new id, merge the one that gave way,
-- unmerge the one that came back, retire the one without identifiers; move names the id that gained
-- n_nodes identifiers. other_customer_id is the other side: the survivor of a merge, where a split, an
-- unmerge or a move took its identifiers from.
create table if not exists identity.events (
    seq bigint not null,
    event varchar not null,            -- create, merge, split, unmerge, move, retire, erase
    customer_id varchar using compression uncompressed not null,
    other_customer_id varchar,
    n_nodes bigint not null,
    cause_rule varchar,
    effective_at timestamp not null,   -- as_of of the run
    run_id varchar not null,
    recorded_at timestamp not null
);

-- What people decided about single identifiers and limits: by commands (origin steward), or in the catalog, whose
-- decisions are kept here from the first publication that knew them. Identifiers are named by node, so that no
-- value of a person's stands here.
create table if not exists identity.rules (
    rule_id varchar not null,
    decision_seq bigint not null,      -- rises with each decision of a command, the end of one too; 0 for the catalog's
    origin varchar not null,           -- catalog, steward
    kind varchar not null,             -- must_link, must_not_link, block_value, block_pattern, max_per_customer,
                                       -- degree_limit, max_nodes
    id_type varchar,
    other_type varchar,                -- neighbours that a degree_limit counts
    nodes bigint[],
    other_nodes bigint[],              -- the other side of a must_not_link
    pattern varchar,
    limit_value bigint,
    author varchar not null,
    reason varchar not null,
    valid_from timestamp not null,
    valid_to timestamp,
    ended_by varchar,
    ended_reason varchar,
    recorded_at timestamp not null
);

-- Every publication, with the figures that the gate compares later candidates with.
create table if not exists identity.publications (
    publication_seq bigint not null,
    as_of timestamp not null,
    decision_seq bigint not null,      -- newest decision of a command that it knew
    n_identifiers bigint not null,
    raw_max_component bigint not null,
    known_before bigint not null,
    known_moved bigint not null,
    merges bigint not null,
    splits bigint not null,
    n_edges bigint not null,
    n_edges_rejected bigint not null,
    max_customer_nodes bigint not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

-- Findings of the gate that a person has looked at and found right (acknowledgements.py).
create table if not exists identity.acknowledgements (
    acknowledgement_seq bigint not null,
    truth varchar not null,
    candidate_id varchar not null,     -- what was found unusual
    publication_seq bigint not null,   -- what was published then; 0 before the first publication
    value double not null,             -- how much it was
    author varchar not null,
    reason varchar not null,
    recorded_at timestamp not null
);

-- How a row of a source finds its customer: look up its raw identifier values, best type first (see
-- entities.IDENTITY_COLUMNS), and take the first that is here. Blocked and shared values are not here.
create table if not exists identity.identifier_lookup (
    id_type varchar not null,
    id_namespace varchar not null,
    raw_value varchar not null using compression zstd, -- exactly as it stands in sources.<entity>
    node_id bigint not null,
    customer_id varchar using compression uncompressed not null
);

create table if not exists identity.customer_accounts (
    customer_id varchar not null,
    account_id varchar not null,
    role varchar not null,
    valid_from timestamp not null,
    valid_to timestamp,
    run_id varchar not null,
    recorded_at timestamp not null
);

-- Consent at as_of: for every customer, each purpose whose basis is not consent (always allowed); for
-- customers who ever decided anything, every purpose of the catalog. No row means no.
create table if not exists identity.customer_consents (
    customer_id varchar using compression uncompressed not null,
    purpose varchar not null,
    is_allowed boolean not null,
    decided_at timestamp not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

-- Each attribute's value as catalog/profile.yml prefers it, who stated it (source/entity), and when, at the latest.
create table if not exists identity.profiles (
    customer_id varchar using compression uncompressed not null,
    email varchar,
    phone varchar,
    first_name varchar,
    last_name varchar,
    country varchar,
    company_name varchar,
    residency_region varchar,
    email_source varchar,
    email_at timestamp,
    phone_source varchar,
    phone_at timestamp,
    first_name_source varchar,
    first_name_at timestamp,
    last_name_source varchar,
    last_name_at timestamp,
    country_source varchar,
    country_at timestamp,
    company_name_source varchar,
    company_name_at timestamp,
    residency_region_source varchar,
    residency_region_at timestamp,
    is_known boolean not null,         -- has an identifier better than a device or a cookie
    best_source_customer_id varchar,   -- lowest source_customer_id, for display and stable ties
    run_id varchar not null,
    recorded_at timestamp not null
);

-- Attributes that sources state differently of one customer: every value, the one of the profile first. Spellings that
-- differ in case alone are one value.
create table if not exists identity.profile_conflicts (
    customer_id varchar using compression uncompressed not null,
    attribute varchar not null,
    value_rank bigint not null,        -- 1: the value in identity.profiles
    value varchar not null,
    source varchar,                    -- who stated it, as catalog/profile.yml prefers
    entity varchar,
    seen_at timestamp not null,        -- when they did
    n_obs bigint not null,             -- current rows that state it
    run_id varchar not null,
    recorded_at timestamp not null
);

-- Which identifier speaks for how many rows of each source (rule R6); nobody's rows by why nobody is known for them.
create table if not exists identity.attributions (
    entity varchar not null,
    source varchar not null,
    attributed_by varchar not null,    -- a type of identifier; no identifier, shared identifiers, blocked identifiers
    n_rows bigint not null,
    n_rows_known bigint not null,      -- of these, rows of customers that are more than a device or a cookie
    n_rows_reattributed bigint not null, -- of these, rows that had another customer before the run
    run_id varchar not null,
    recorded_at timestamp not null
);

-- How each run went, and how it scored where there were labels.
create table if not exists identity.metrics (
    run_id varchar not null,
    as_of timestamp not null,
    metric varchar not null,
    slice varchar not null,            -- what part it is about, such as a rule; '' for all
    value double,                      -- null where it is not defined
    ci_low double,                     -- its 95 % interval
    ci_high double,
    n bigint not null,                 -- pairs, records, customers, people or edges that it was measured on
    truth varchar,                     -- file of the labels; null for what needs none
    recorded_at timestamp not null
);

-- Identifiers of the erased: a keyed hash of type, namespace and normal form (segmentation/erasure). What a source
-- sends again is recognised by it and dropped.
create table if not exists identity.suppressions (
    value_hmac varchar not null,
    id_type varchar not null,
    key_id varchar not null,
    reason varchar not null,
    erasure_id varchar not null,
    suppressed_at timestamp not null
);

-- Records that matching has compared with each other, by the identifier that each stands for. Internal.
create table if not exists identity.match_records (
    node_id bigint not null,
    content_hash ubigint not null
);

-- What they were compared by: the model, what is read where, and from when on a pair is kept. Internal.
create table if not exists identity.match_basis (fingerprint varchar not null);

-- Pairs of records that the model in force takes for one person's, and what came of each. Every run of identity with
-- matching switched on brings them up to date, published or not: they say what looks alike, not who is who.
create table if not exists identity.match_candidates (
    node_a bigint not null,
    node_b bigint not null,
    match_weight double not null,      -- bits: the base-2 logarithm of the odds
    match_probability double not null,
    model_version bigint not null,
    parts struct(attribute varchar, level varchar, bits double)[] not null, -- what the weight is the sum of
    state varchar not null,            -- evident (identifiers link them), review, automatic, match, no_match
    found_at timestamp not null,       -- as_of of the run
    run_id varchar not null,
    recorded_at timestamp not null
);

-- What people said of pairs, one row per pair; the audit log has what they said before.
create table if not exists identity.match_labels (
    label_seq bigint not null,         -- row of the audit log
    node_a bigint not null,
    node_b bigint not null,
    verdict varchar not null,          -- match, no_match
    author varchar not null,
    reason varchar not null,
    labelled_at timestamp not null
);

-- Pairs drawn at random for people to label: what they say of these tells how precise automatic links are.
create table if not exists identity.match_samples (
    node_a bigint not null,
    node_b bigint not null,
    fingerprint varchar not null,      -- model and records that the pair was drawn from
    drawn_from double not null,        -- least probability that it was drawn from
    match_probability double not null,
    author varchar not null,
    drawn_at timestamp not null
);
