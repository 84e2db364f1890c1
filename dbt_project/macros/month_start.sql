{#- First day of a date's month. -#}
{%- macro month_start(date) -%}
cast(date_trunc('month', cast({{ date }} as timestamp)) as date)
{%- endmacro -%}
