{#- A mart's own past: its rows of days before D that were exported, and not after D was: a day that was blocked or never
    exported leaves no trace in later ones, and one that is made up for leaves none in those that went out before it. -#}
{%- macro exported_before(relation) -%}
select *
    from {{ relation }}
    where
        as_of_date < {{ as_of_date() }}
        and as_of_date in (
            select earlier.as_of_date
            from (select * from {{ source('ops', 'exports') }}) as earlier
            where
                earlier.state = 'done'
                and not exists (
                    select 1
                    from (select * from {{ source('ops', 'exports') }}) as own
                    where own.as_of_date = {{ as_of_date() }} and own.export_number < earlier.export_number
                )
        )
{%- endmacro -%}
