{#- Rows of one contract table whose knowledge changed after from_on and by to_on: what batches brought, what was replaced
    or deleted, what became known later than its batch, and what goes on behind a late batch. As loan_id, the kind of
    row, and the day from which it bears on a loan (null: on all of its life). -#}
{%- macro changed_rows(table, from_on, to_on, batches, condition='true') -%}
select
        loan_id,
        {{ changed_row(table) }}
    from {{ source('raw', table) }}
    where
        {{ condition }}
        and loan_id is not null
        and _batch_id in (select {{ batches }}.batch_id from {{ batches }})
    union all
    select
        loan_id,
        {{ changed_row(table) }}
    from {{ source('servicing', table) }}
    where
        {{ condition }}
        and _known_to > {{ from_on }}
        and _known_to <= {{ to_on }}
    union all
    select
        loan_id,
        {{ changed_row(table) }}
    from {{ source('servicing', table) }}
    where
        {{ condition }}
        and _known_from + 0 > {{ from_on }}
        and _known_from + 0 <= {{ to_on }}
        {{ 'and _split_by is not null' if table != 'transactions' }}
{%- endmacro -%}

{%- macro changed_row(table) -%}
{{ "kind" if table == 'transactions' else "'" ~ table ~ "'" }} as kind,
        {{ {
            'transactions': 'effective_on',
            'instalments': 'effective_on',
            'charges': 'due_on',
            'forbearances': 'least(starts_on, agreed_on)',
            'servicer_balances': 'balance_on',
        }.get(table, 'cast(null as date)') }} as bears_from
{%- endmacro -%}
