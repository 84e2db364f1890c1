{#- The date up to which rows are known. The day's run knows what was known at the end of D; loan_delinquency_at() asks
    what D looked like to somebody who knew more, or less, and sets it apart. -#}
{%- macro known_on() -%}
(
        select
            cast(
                coalesce(
                    nullif(current_setting('arrears.known_on', true), ''), current_setting('arrears.as_of_date')
                ) as date
            )
    )
{%- endmacro -%}
