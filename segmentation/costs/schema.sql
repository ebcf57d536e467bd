-- Published costs. Money is integer micros (1e-6) of the reporting currency. A charge is named by
-- (source, origin_charge_id); only allocation_view 'exclusive' may be summed over segments.
create table if not exists costs.charges (
    source varchar not null,
    origin_charge_id varchar not null,
    charge_version integer not null,   -- how often the bill has stated it; only the newest is here
    incurred_date date not null,
    period_last_date date not null,    -- last day of the charge period; drivers are summed up to it
    billing_period_start date not null,
    is_correction boolean not null,
    charge_category varchar not null,
    service_name varchar,
    effective_micros bigint not null,
    billed_micros bigint not null,
    residual_effective decimal(38, 12) not null, -- what rounding to micros left, in units of the currency
    residual_billed decimal(38, 12) not null,
    billing_currency varchar not null,
    fx_rate decimal(38, 12) not null,
    pool_key varchar not null,
    commitment_discount_status varchar,
    tag_value varchar,
    run_id varchar not null,
    recorded_at timestamp not null
);

create table if not exists costs.drivers_daily (
    driver_date date not null,
    driver_key varchar not null,
    driver_unit varchar not null,
    allocation_view varchar not null,  -- exclusive, full, fractional
    segment_key varchar not null,      -- or __unattributed__ (unknown customer), __no_segment__
    quantity bigint not null,
    backfilled_quantity bigint not null, -- part of quantity that is older than the membership history
    run_id varchar not null,
    recorded_at timestamp not null
);

create table if not exists costs.allocations (
    source varchar not null,
    origin_charge_id varchar not null,
    charge_version integer not null,
    incurred_date date not null,
    pool_key varchar not null,
    allocation_view varchar not null,
    segment_key varchar not null,      -- or __idle__, __unattributed__, __no_segment__, __overhead__
    allocated_method_id varchar not null,
    allocated_ratio double not null,
    driver_unit varchar,
    driver_quantity bigint,
    allocated_effective_micros bigint not null,
    allocated_billed_micros bigint not null,
    is_additive boolean not null,
    reason varchar,
    rule_version varchar not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

create table if not exists costs.reconciliation (
    source varchar not null,
    origin_charge_id varchar not null,
    charge_version integer not null,
    allocation_view varchar not null,
    is_additive boolean not null,      -- the differences of an additive view must be 0
    charged_effective_micros bigint not null,
    allocated_effective_micros bigint not null,
    difference_effective_micros bigint not null,
    charged_billed_micros bigint not null,
    allocated_billed_micros bigint not null,
    difference_billed_micros bigint not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

-- What a person should look at, none of it hidden by clamping or dropping.
create table if not exists costs.findings (
    finding varchar not null,          -- negative_idle, driver_mismatch, negative_driver
    subject varchar not null,          -- the pool or the driver concerned
    finding_date date not null,
    expected_quantity bigint not null,
    found_quantity bigint not null,
    run_id varchar not null,
    recorded_at timestamp not null
);
