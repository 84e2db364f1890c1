{#- Joins spells of days that overlap or touch, within the keys. A spell counts from valid_from to held_to; one that is no
    entry only prolongs. What has no entry is left out; what is left begins with its first entry. It is open, so that its
    end is not known yet, where what reaches furthest still goes on. -#}
{%- macro spells_joined(spells, keys) -%}
{%- set key = keys | join(', ') -%}
select
        {{ key }},
        min(valid_from) filter (where is_entry) as valid_from,
        max(held_to) as held_to,
        max(valid_to) filter (where is_entry) as last_ground_on,
        coalesce(max(held_to) filter (where is_open) = max(held_to), false) as is_open
    from (
        select
            *,
            count(*) filter (where is_apart) over (
                partition by {{ key }}
                order by valid_from, held_to
                rows unbounded preceding
            ) as spell_number
        from (
            select
                *,
                valid_from > 1 + max(held_to) over (
                    partition by {{ key }}
                    order by valid_from, held_to
                    rows between unbounded preceding and 1 preceding
                ) as is_apart
            from {{ spells }}
        ) as spells_marked
    ) as spells_numbered
    group by {{ key }}, spell_number
    having bool_or(is_entry)
{%- endmacro -%}

{#- A date some months on. -#}
{%- macro months_after(day, months) -%}
cast({{ day }} + {{ months }} * interval '1 month' as date)
{%- endmacro -%}
