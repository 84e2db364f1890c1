{#- Calendar months from the month of one date to the month of another; days within them play no part. -#}
{%- macro months_between(from_date, to_date) -%}
cast(
            12 * (date_part('year', {{ to_date }}) - date_part('year', {{ from_date }}))
            + date_part('month', {{ to_date }}) - date_part('month', {{ from_date }})
            as integer
        )
{%- endmacro -%}
