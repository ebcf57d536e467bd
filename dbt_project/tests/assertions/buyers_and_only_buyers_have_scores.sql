-- A customer with an uncancelled order has all three scores, 1 to 5; nobody else has any.
select customer_id
from {{ ref('customer_features') }}
where
    (orders_total > 0) <> (recency_score is not null)
    or (orders_total > 0) <> (frequency_score is not null)
    or (orders_total > 0) <> (monetary_score is not null)
    or recency_score not between 1 and 5
    or frequency_score not between 1 and 5
    or monetary_score not between 1 and 5
