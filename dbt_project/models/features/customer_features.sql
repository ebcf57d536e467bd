with customers as (
    select * from {{ ref('stg_identity__customers') }}
    where status = 'active'
),

profiles as (
    select * from {{ ref('stg_identity__profiles') }}
),

memberships as (
    select
        customer_id,
        account_id,
        row_number() over (
            partition by customer_id
            order by valid_from desc, account_id asc
        ) as membership_rank
    from {{ ref('stg_identity__customer_accounts') }}
),

accounts as (
    select
        account_id,
        max(company_size) as company_size
    from {{ ref('stg_sources__accounts') }}
    group by account_id
),

customer_accounts as (
    select
        memberships.customer_id,
        memberships.account_id,
        accounts.company_size
    from memberships
    left join accounts
        on memberships.account_id = accounts.account_id
    where memberships.membership_rank = 1
),

orders as (
    select * from {{ ref('int_orders__summarised') }}
),

scores as (
    select * from {{ ref('int_customers__scored') }}
),

engagement as (
    select * from {{ ref('int_engagement__summarised') }}
),

requests as (
    select * from {{ ref('int_requests__summarised') }}
),

tickets as (
    select * from {{ ref('int_tickets__summarised') }}
),

subscriptions as (
    select * from {{ ref('int_subscriptions__current') }}
),

invoices as (
    select * from {{ ref('int_invoices__summarised') }}
),

risk as (
    select * from {{ ref('int_risk__summarised') }}
),

forms as (
    select * from {{ ref('int_form_submissions__latest') }}
),

consents as (
    select * from {{ ref('int_consents__collected') }}
),

purpose_sets as (
    select * from {{ ref('int_purpose_sets__collected') }}
),

final as (
    select
        cast(customers.customer_id as string) as customer_id,
        {{ as_of_literal() }} as as_of,
        cast(customers.first_seen_at as timestamp) as first_seen_at,
        {{ days_until_as_of('customers.first_seen_at') }} as tenure_days,
        cast(customers.n_nodes as bigint) as identifier_count,
        cast(coalesce(profiles.is_known, false) as boolean) as is_known,
        cast(profiles.country as string) as country,
        cast(profiles.residency_region as string) as residency_region,
        cast(customer_accounts.account_id as string) as account_id,
        cast(coalesce(orders.orders_30d, 0) as bigint) as orders_30d,
        cast(coalesce(orders.orders_90d, 0) as bigint) as orders_90d,
        cast(coalesce(orders.orders_365d, 0) as bigint) as orders_365d,
        cast(coalesce(orders.orders_total, 0) as bigint) as orders_total,
        cast(coalesce(orders.cancelled_orders_total, 0) as bigint) as cancelled_orders_total,
        cast(coalesce(orders.revenue_micros_30d, 0) as bigint) as revenue_micros_30d,
        cast(coalesce(orders.revenue_micros_90d, 0) as bigint) as revenue_micros_90d,
        cast(coalesce(orders.revenue_micros_365d, 0) as bigint) as revenue_micros_365d,
        cast(coalesce(orders.revenue_micros_total, 0) as bigint) as revenue_micros_total,
        {{ integer_quotient('orders.revenue_micros_total', 'orders.orders_total') }}
            as average_order_micros,
        cast(orders.first_order_at as timestamp) as first_order_at,
        cast(orders.last_order_at as timestamp) as last_order_at,
        {{ days_until_as_of('orders.last_order_at') }} as days_since_last_order,
        cast(orders.returned_micros_365d as double)
        / nullif(cast(orders.gross_micros_365d as double), 0) as returns_ratio_365d,
        cast(scores.recency_score as bigint) as recency_score,
        cast(scores.frequency_score as bigint) as frequency_score,
        cast(scores.monetary_score as bigint) as monetary_score,
        cast(coalesce(engagement.sessions_30d, 0) as bigint) as sessions_30d,
        cast(coalesce(engagement.days_active_30d, 0) as bigint) as days_active_30d,
        cast(engagement.last_seen_at as timestamp) as last_seen_at,
        {{ days_until_as_of('engagement.last_seen_at') }} as days_since_last_seen,
        cast(engagement.top_channel as string) as top_channel,
        cast(coalesce(requests.requests_1d, 0) as bigint) as requests_1d,
        cast(coalesce(requests.requests_7d, 0) as bigint) as requests_7d,
        cast(coalesce(requests.requests_30d, 0) as bigint) as requests_30d,
        cast(requests.request_p95_ms_7d as double) as request_p95_ms_7d,
        cast(requests.error_ratio_7d as double) as error_ratio_7d,
        cast(requests.throttled_ratio_7d as double) as throttled_ratio_7d,
        cast(coalesce(requests.compute_ms_30d, 0) as bigint) as compute_ms_30d,
        cast(coalesce(tickets.tickets_open, 0) as bigint) as tickets_open,
        cast(coalesce(tickets.tickets_90d, 0) as bigint) as tickets_90d,
        cast(tickets.csat_mean as double) as csat_mean,
        cast(subscriptions.plan as string) as plan,
        cast(coalesce(subscriptions.mrr_micros, 0) as bigint) as mrr_micros,
        cast(coalesce(subscriptions.seats, 0) as bigint) as seats,
        cast(subscriptions.subscription_status as string) as subscription_status,
        cast(subscriptions.renews_at as timestamp) as renews_at,
        {{ whole_days_between(as_of_literal(), 'subscriptions.renews_at') }} as days_to_renewal,
        cast(coalesce(invoices.paid_late_count_365d, 0) as bigint) as paid_late_count_365d,
        cast(coalesce(invoices.open_invoice_micros, 0) as bigint) as open_invoice_micros,
        cast(coalesce(risk.chargebacks_365d, 0) as bigint) as chargebacks_365d,
        cast(coalesce(risk.distinct_cards_30d, 0) as bigint) as distinct_cards_30d,
        cast(risk.new_device_ratio_7d as double) as new_device_ratio_7d,
        cast(coalesce(forms.company_size, customer_accounts.company_size) as bigint)
            as company_size,
        cast(forms.job_level as string) as job_level,
        cast(forms.demo_requested_at as timestamp) as demo_requested_at,
        coalesce(purpose_sets.consented_purposes, {{ empty_string_array() }}) as consented_purposes
    from customers
    left join profiles
        on customers.customer_id = profiles.customer_id
    left join customer_accounts
        on customers.customer_id = customer_accounts.customer_id
    left join orders
        on customers.customer_id = orders.customer_id
    left join scores
        on customers.customer_id = scores.customer_id
    left join engagement
        on customers.customer_id = engagement.customer_id
    left join requests
        on customers.customer_id = requests.customer_id
    left join tickets
        on customers.customer_id = tickets.customer_id
    left join subscriptions
        on customers.customer_id = subscriptions.customer_id
    left join invoices
        on customers.customer_id = invoices.customer_id
    left join risk
        on customers.customer_id = risk.customer_id
    left join forms
        on customers.customer_id = forms.customer_id
    left join consents
        on customers.customer_id = consents.customer_id
    left join purpose_sets
        on consents.purpose_set = purpose_sets.purpose_set
)

select * from final
