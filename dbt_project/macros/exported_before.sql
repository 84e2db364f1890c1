{#- A mart's own past: its rows of days before D that were exported. A day that was blocked or never exported leaves no
    trace in later ones. -#}
{%- macro exported_before(relation) -%}
select *
    from {{ relation }}
    where
        as_of_date < {{ as_of_date() }}
        and as_of_date in (select as_of_date from {{ source('ops', 'exports') }} where state = 'done')
{%- endmacro -%}
