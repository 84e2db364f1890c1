{#- How many full months lie between two dates: the greatest n for which the first, n months later, is not after the
    second. A month that has no such day ends on its last one: from 31 January to 28 February is a full month. -#}
{%- macro full_months(from_date, to_date) -%}
{{ months_between(from_date, to_date) }} - case
            when {{ from_date }} + make_interval(months => {{ months_between(from_date, to_date) }}) > {{ to_date }} then 1
            else 0
        end
{%- endmacro -%}
