{#- Ranges of whole numbers cover everything from `lowest` without a gap or an overlap; the last has no end. -#}
{% test ranges_cover(model, from_column, to_column, lowest) %}
with ranges as (
    select
        {{ from_column }} as range_from,
        {{ to_column }} as range_to,
        lag({{ to_column }}) over (order by {{ from_column }}) as previous_to,
        row_number() over (order by {{ from_column }}) as position,
        count(*) over () as range_count
    from {{ model }}
)

select *
from ranges
where
    (position = 1 and range_from <> {{ lowest }})
    or (position > 1 and range_from is distinct from previous_to + 1)
    or ((range_to is null) <> (position = range_count))
    or range_to < range_from
{% endtest %}
