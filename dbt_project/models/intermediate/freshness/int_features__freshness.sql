{# The last fact of each concern that reached the features. A concern is what the contract's meta
   calls `source`. Identity may have seen more since, when a past moment is described. #}
{% set facts = [
    ('orders', ref('int_orders__attributed'), 'ordered_at'),
    ('risk', ref('int_orders__attributed'), 'ordered_at'),
    ('engagement', ref('int_devices__attributed'), 'last_used_at'),
    ('risk', ref('int_devices__attributed'), 'last_used_at'),
    ('api_usage', ref('int_requests__summarised'), 'last_request_at'),
    ('support', ref('int_tickets__summarised'), 'last_ticket_change_at'),
    ('subscriptions', ref('int_subscriptions__current'), 'last_subscription_change_at'),
    ('subscriptions', ref('int_invoices__summarised'), 'last_invoice_change_at'),
    ('leads', ref('int_form_submissions__latest'), 'last_submitted_at'),
    ('consent', ref('stg_sources__consent_events'), 'occurred_at'),
    ('identity', ref('stg_identity__identifiers'), 'last_seen_at'),
] %}

with latest as (
    {%- for concern, relation, moment in facts %}
    select
        '{{ concern }}' as concern,
        max({{ moment }}) as max_event_at
    from {{ relation }}
    where {{ is_known(moment) }}
    {{- '\n    union all' if not loop.last }}
    {%- endfor %}
),

final as (
    select
        concern,
        max(max_event_at) as max_event_at
    from latest
    group by concern
)

select * from final
