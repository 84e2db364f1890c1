{#- The business date D that is built. It is a setting of the session, not a dbt variable: another day needs no new parse.
    Without the setting PostgreSQL refuses the query, which is meant: no model falls back on a clock. As a subquery the
    setting is read once a query, not once a row (a scan of an instalments table takes a fifth of the time). -#}
{%- macro as_of_date() -%}
(select cast(current_setting('arrears.as_of_date') as date))
{%- endmacro -%}
