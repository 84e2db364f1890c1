{#- Arrays of a loan's claims in the order in which they are paid, and of its bookings in the order of their days. The
    order is written as in the window before, so that PostgreSQL sorts once. -#}
{%- macro in_order(value) -%}
array_agg({{ value }} order by due_on, claim_kind_rank, claim_number, claim_key)
{%- endmacro -%}

{%- macro in_time(value) -%}
array_agg({{ value }} order by effective_on, transaction_id)
{%- endmacro -%}
