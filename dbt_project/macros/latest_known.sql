{#- The rows of a contract table as known at the end of D. The table holds every accepted version of a row with the days
    it was in force, so this is a filter, never a window over the table. -#}
{%- macro latest_known(relation) -%}
select *
    from {{ relation }}
    where
        _known_from <= {{ as_of_date() }}
        and (_known_to is null or _known_to > {{ as_of_date() }})
{%- endmacro -%}
