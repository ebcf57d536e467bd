create table if not exists costs.charges (
    origin_charge_id varchar not null,
    charge_version integer not null,
    incurred_date date not null,
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
    allocation_view varchar not null,  -- exclusive, full
    segment_key varchar not null,
    quantity bigint not null,
    run_id varchar not null,
    recorded_at timestamp not null
);

create table if not exists costs.allocations (
    origin_charge_id varchar not null,
    charge_version integer not null,
    incurred_date date not null,
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
    origin_charge_id varchar not null,
    charge_version integer not null,
    allocation_view varchar not null,
    charged_effective_micros bigint not null,
    allocated_effective_micros bigint not null,
    difference_effective_micros bigint not null,
    charged_billed_micros bigint not null,
    allocated_billed_micros bigint not null,
    difference_billed_micros bigint not null,
    run_id varchar not null,
    recorded_at timestamp not null
);
