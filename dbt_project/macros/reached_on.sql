{#- The first day of a row of int_classification__days_counted on which a number of days is reached. Days on a day x are
    x - counted_from; by `rbi_day_end` one more, for what is unpaid at the end of its due date is overdue that day. -#}
{%- macro reached_on(days, convention, days_from) -%}
greatest(
            case
                when {{ convention }} = 'rbi_day_end' and {{ days }}.valid_from = {{ days }}.counted_from + 1
                    then {{ days }}.counted_from
                else {{ days }}.valid_from
            end,
            {{ days }}.counted_from + {{ days_from }} - case when {{ convention }} = 'rbi_day_end' then 1 else 0 end
        )
{%- endmacro -%}

{#- Whether the row reaches that number by its last day; a count that stands still has reached it all along or never. -#}
{%- macro is_reached(days, convention, days_from) -%}
case
            when {{ days }}.counted_from is not null
                then
                    {{ days }}.valid_to - {{ days }}.counted_from
                    + case when {{ convention }} = 'rbi_day_end' then 1 else 0 end >= {{ days_from }}
            else
                {{ days }}.days_frozen
                + case when {{ convention }} = 'rbi_day_end' then 1 else 0 end >= {{ days_from }}
        end
{%- endmacro -%}

{#- Whether a row is the one that a rule book reads: its own, where it suspends the loan's count, else the common one. -#}
{%- macro is_read_by(days, rule_book) -%}
({{ days }}.rule_book is null or {{ days }}.rule_book = {{ rule_book }})
        and ({{ days }}.except_books is null or position('|' || {{ rule_book }} || '|' in {{ days }}.except_books) = 0)
{%- endmacro -%}
