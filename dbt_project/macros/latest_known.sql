{#- The rows of a contract table as known at the end of D. The table holds every accepted version of a row with the days
    it was in force, so this is a filter, never a window over the table; in two parts, because open versions and closed
    ones have an index each. -#}
{%- macro latest_known(relation) -%}
select *
    from {{ relation }}
    where _known_to is null and _known_from <= {{ known_on() }}
    union all
    select *
    from {{ relation }}
    where _known_to > {{ known_on() }} and _known_from <= {{ known_on() }}
{%- endmacro -%}
