{#- Whether a value lies in a scorecard's bin [value_from, value_to), an empty end being open; a missing value lies in the
    bin that has neither end. -#}
{%- macro is_in_bin(value, bin) -%}
case
                when {{ value }} is null then {{ bin }}.value_from is null and {{ bin }}.value_to is null
                else
                    ({{ bin }}.value_from is not null or {{ bin }}.value_to is not null)
                    and {{ value }} >= coalesce({{ bin }}.value_from, {{ value }})
                    and ({{ bin }}.value_to is null or {{ value }} < {{ bin }}.value_to)
            end
{%- endmacro -%}
