{#- What adds up along an order never gets smaller within a group, and the order has no gap. -#}
{% test never_falls(model, columns, group_by, order_by) %}
with followed as (
    select
        *,
        lag({{ order_by }}) over own as previous_{{ order_by }}
        {%- for column in columns %},
        lag({{ column }}) over own as previous_{{ column }}
        {%- endfor %}
    from {{ model }}
    window own as (partition by {{ group_by | join(', ') }} order by {{ order_by }})
)

select *
from followed
where
    {{ order_by }} <> coalesce(previous_{{ order_by }} + 1, 0)
    {%- for column in columns %}
    or {{ column }} < previous_{{ column }}
    {%- endfor %}
{% endtest %}
