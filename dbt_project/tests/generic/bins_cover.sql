{#- Bins [from, to) of each group follow one another without a gap or an overlap and the last one has no end. A bin without
    both ends is the one for missing values. -#}
{% test bins_cover(model, group_by, from_column, to_column) %}
with bins as (
    select
        *,
        lag({{ to_column }}) over (
            partition by {{ group_by | join(', ') }} order by {{ from_column }} nulls first
        ) as previous_to,
        row_number() over (
            partition by {{ group_by | join(', ') }} order by {{ from_column }} nulls first
        ) as position,
        count(*) over (partition by {{ group_by | join(', ') }}) as bin_count
    from {{ model }}
    where {{ from_column }} is not null or {{ to_column }} is not null
)

select *
from bins
where
    (position > 1 and {{ from_column }} is distinct from previous_to)
    or (({{ to_column }} is null) <> (position = bin_count))
    or {{ to_column }} <= {{ from_column }}
{% endtest %}
