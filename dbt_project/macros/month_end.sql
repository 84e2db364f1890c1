{#- Last day of a date's month, or of the month so many months later. -#}
{%- macro month_end(date, months=0) -%}
cast(date_trunc('month', cast({{ date }} as timestamp)) + interval '{{ months + 1 }} month - 1 day' as date)
{%- endmacro -%}
