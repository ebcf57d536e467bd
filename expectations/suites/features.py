"""What must be true of the computed features before segment rules may see them.

Belongs here: truths over `features.candidate` (figures), `features.candidate_columns` and
`features.candidate_customer_features` (the rows). Does not belong here: how a feature is computed, which
dbt's unit tests hold. What publishing then does is in `segmentation/features/publish.py`.
"""

from expectations.truths import Suite, has_rows, holds_nowhere, is_unique

ROWS = "candidate_customer_features"
FIGURES = "candidate"
COLUMNS = "candidate_columns"
ACCOUNTS = "candidate_account_features"

_MODEL = "correct the model in dbt_project/models that computes it"
_COUNTS = [
    "tenure_days",
    "identifier_count",
    "orders_30d",
    "orders_90d",
    "orders_365d",
    "orders_total",
    "cancelled_orders_total",
    "sessions_30d",
    "days_active_30d",
    "requests_1d",
    "requests_7d",
    "requests_30d",
    "compute_ms_30d",
    "tickets_open",
    "tickets_90d",
    "mrr_micros",
    "seats",
    "paid_late_count_365d",
    "chargebacks_365d",
    "distinct_cards_30d",
]
_SCORES = ("recency_score", "frequency_score", "monetary_score")
_SHARES = ("error_ratio_7d", "throttled_ratio_7d", "new_device_ratio_7d")
_WINDOWS = (
    ("orders_30d", "orders_90d"),
    ("orders_90d", "orders_365d"),
    ("orders_365d", "orders_total"),
    ("requests_1d", "requests_7d"),
    ("requests_7d", "requests_30d"),
)

SUITE = Suite(
    "features",
    (
        has_rows("features_are_measured", FIGURES, repair="run the whole stage, not its dbt models alone"),
        has_rows("customers_have_features", ROWS, repair="see why identity has no active customer: strata doctor"),
        is_unique(
            "customers_are_unique", ROWS, "customer_id", repair="find the join in dbt_project that multiplies rows"
        ),
        holds_nowhere(
            "every_active_customer_has_features",
            FIGURES,
            "select missing_customers, expected_customers from {batch} where missing_customers > 0",
            expected="a row for every active customer of identity",
            repair="find the join in dbt_project that loses customers",
        ),
        holds_nowhere(
            "only_active_customers_have_features",
            FIGURES,
            "select unexpected_customers from {batch} where unexpected_customers > 0",
            expected="no row of a merged, retired, erased or unknown customer",
            repair="rebuild the features on the identity that is published now",
        ),
        holds_nowhere(
            "features_describe_the_runs_moment",
            FIGURES,
            "select as_of, min_row_as_of, max_row_as_of from {batch} "
            "where min_row_as_of <> as_of or max_row_as_of <> as_of",
            expected="every row's as_of is the run's",
            repair="build the features in the same run: dbt gets as_of from it",
        ),
        holds_nowhere(
            "no_feature_looks_into_the_future",
            FIGURES,
            "select future_rows, as_of from {batch} where future_rows > 0",
            expected="no fact later than as_of",
            repair="bound the model by as_of",
        ),
        holds_nowhere(
            "columns_keep_their_contract",
            FIGURES,
            "select schema_fingerprint, contract_fingerprint from {batch} "
            "where schema_fingerprint <> contract_fingerprint",
            expected="the columns and types of customer_features.yml, in its order",
            repair="make model and contract agree in dbt_project/models/features",
        ),
        holds_nowhere(
            "features_are_finite",
            COLUMNS,
            "select feature, not_finite_rows from {batch} where not_finite_rows > 0",
            expected="numbers or nulls: engines disagree about how infinity and what is no number compare",
            repair="divide by nullif(…, 0) in the model that computes it",
        ),
        is_unique(
            "accounts_are_unique", ACCOUNTS, "account_id", repair="find the join in dbt_project that multiplies rows"
        ),
        holds_nowhere(
            "accounts_describe_the_runs_moment",
            ACCOUNTS,
            "select as_of, count(*) as n from {batch} "
            "where as_of <> (select measured.as_of from features.candidate as measured) group by all",
            expected="every row's as_of is the run's",
            repair="build the features in the same run: dbt gets as_of from it",
        ),
        holds_nowhere(
            "windows_nest",
            ROWS,
            "select customer_id from {batch} where "
            + " or ".join(f"{shorter} > {longer}" for shorter, longer in _WINDOWS),
            expected="a shorter window never counts more than a longer one",
            repair=_MODEL,
        ),
        holds_nowhere(
            "counts_are_never_negative",
            ROWS,
            "select customer_id from {batch} where " + " or ".join(f"{column} < 0" for column in _COUNTS),
            expected="counts, days, seats and prices of 0 or more",
            repair=_MODEL,
        ),
        holds_nowhere(
            "shares_lie_between_0_and_1",
            ROWS,
            "select customer_id from {batch} where "
            + " or ".join(f"{column} not between 0 and 1" for column in _SHARES)
            + " or returns_ratio_365d < 0",
            expected="shares from 0 to 1; of returns, 0 or more",
            repair=_MODEL,
        ),
        holds_nowhere(
            "scores_lie_between_1_and_5",
            ROWS,
            "select customer_id from {batch} where "
            + " or ".join(f"{column} not between 1 and 5" for column in _SCORES),
            expected="scores from 1 to 5",
            repair="correct dbt_project/models/intermediate/orders",
        ),
        holds_nowhere(
            "who_ordered_is_scored",
            ROWS,
            "select customer_id, orders_total from {batch} where "
            + " or ".join(f"({column} is null) <> (orders_total = 0)" for column in _SCORES),
            expected="all three scores with an uncancelled order, none without",
            repair="correct dbt_project/models/intermediate/orders",
        ),
        holds_nowhere(
            "no_purpose_is_claimed_without_consent",
            ROWS,
            """
            select claimed.customer_id, claimed.purpose
            from (select customer_id, unnest(consented_purposes) as purpose from {batch}) as claimed
            anti join (select customer_id, purpose from identity.customer_consents where is_allowed) as allowed
                on claimed.customer_id = allowed.customer_id and claimed.purpose = allowed.purpose
            """,
            expected="only purposes that identity says are allowed",
            repair="correct dbt_project/models/intermediate/consent",
        ),
        holds_nowhere(
            "facts_are_recent",
            FIGURES,
            """
            select fresh.concern, fresh.max_event_at, figures.as_of
            from {batch} as figures
            join intermediate.int_features__freshness as fresh on fresh.max_event_at < figures.as_of - interval 7 day
            """,
            expected="a fact of the last 7 days for every concern that has any",
            repair="see whether the concern's source still lands files",
            severity="warning",
        ),
    ),
)
