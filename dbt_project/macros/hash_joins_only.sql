{#- A setting for models of many steps. PostgreSQL has no statistics of a step's rows, guesses one, and joins by nested loops
    or by sorting all it has: minutes instead of seconds on 100 thousand loans. It holds for the model's transaction. -#}
{%- macro hash_joins_only() -%}
{{ return(['set local enable_nestloop = off', 'set local enable_mergejoin = off']) }}
{%- endmacro -%}
