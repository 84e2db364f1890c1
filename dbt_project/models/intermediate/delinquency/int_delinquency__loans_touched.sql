{# Which loans the kept models compute again, and from which day on. Between what was kept and D lie batches that were
   accepted or taken back, dates on which rows became known or were replaced, and days that bring something into force
   by themselves (next_event_on). A booking moves a loan's history from its value date on; what changes claims, or the
   way in which they are paid, moves all of it; a pause moves the days delinquent from its start on. #}
{{ config(access='protected', post_hook=["{{ note_unpublished() }}", "analyze {{ this }}"]) }}
{% set stated = kept_relation('int_delinquency__loans_stated') %}
{% set keys = {
    'charges': 'charge_id', 'transactions': 'transaction_id', 'forbearances': 'forbearance_id',
} %}

with marks as (
    select * from {{ source('ops', 'kept_models') }}
),

changes as (
    select * from {{ source('ops', 'batch_changes') }}
),

batches as (
    select * from {{ source('ops', 'batches') }}
),

loans as (
    select * from {{ ref('stg_servicing__loans') }}
),

kept as (
    select
        min(change_number) as change_number,
        least(min(as_of_date), {{ as_of_date() }}) as from_on,
        greatest(max(as_of_date), {{ as_of_date() }}) as to_on,
        count(*) = {{ kept_models() | length }} as is_whole
    from marks
    where
        model in (
            '{{ kept_models() | join("', '") }}'
        )
        and project = coalesce(current_setting('arrears.project', true), '')
),

batches_changed as (
    select
        batches.batch_id,
        batches.known_from
    from batches
    where exists (
        select 1
        from changes
        where
            changes.batch_id = batches.batch_id
            and changes.change_number > (select kept.change_number from kept)
    )
),

batches_between as (
    select batch_id from batches_changed
    union
    select batches.batch_id
    from batches
    where
        batches.state = 'accepted'
        and batches.known_from > (select kept.from_on from kept)
        and batches.known_from <= (select kept.to_on from kept)
),

changed as (
    {% for table in ['loans', 'instalments', 'charges', 'transactions', 'forbearances', 'servicer_balances'] %}
    {# A balance is stated anew every day; only one of an earlier day moves the past. #}
    {% set condition = '(select kept.is_whole from kept)' %}
    {% if table == 'servicer_balances' %}
    {% set condition = condition ~ ' and balance_on <= (select kept.from_on from kept)' %}
    {% endif %}
    {% set key = keys.get(table) %}
    {{ 'union all' if not loop.first }}
    {{ changed_rows(
        table, '(select kept.from_on from kept)', '(select kept.to_on from kept)', 'batches_between',
        condition
    ) }}
    union all
    select
        loan_id,
        {{ changed_row(table) }}
    from {{ source('servicing', table) }}
    where
        {{ condition }}
        and _known_to >= (select min(batches_changed.known_from) from batches_changed)
        and _closed_by in (select batches_changed.batch_id from batches_changed)
    {% if key %}
    {# A deletion holds the key alone; what it closes is told by _closed_by, what it no longer closes stands open. #}
    union all
    select
        loan_id,
        {{ changed_row(table) }}
    from {{ source('servicing', table) }}
    where
        {{ condition }}
        and _known_to is null
        and {{ key }} in (
            select {{ key }}
            from {{ source('raw', table) }}
            where _is_deleted and _batch_id in (select batches_changed.batch_id from batches_changed) -- noqa: RF02
        )
    {% endif %}
    {% endfor %}
),

touched as (
    select
        loan_id,
        kind not in ('forbearances', 'servicer_balances') as has_changed_rows,
        case
            when
                kind in (
                    'repayment', 'recovery', 'credit_note', 'disbursement', 'write_off', 'forbearances',
                    'servicer_balances'
                )
                then coalesce(bears_from, cast('-infinity' as date))
            else cast('-infinity' as date)
        end as changed_from
    from changed
    union all
    select
        loan_id,
        true as has_changed_rows,
        cast('-infinity' as date) as changed_from
    from loans
    where not (select kept.is_whole from kept)
    union all
    {# A drop dated before the first one moves the day from which a source's loans were told of (is_reconstructed). #}
    select
        loan_id,
        false as has_changed_rows,
        cast('-infinity' as date) as changed_from
    from loans
    where
        (select kept.is_whole from kept)
        and exists (
            select 1
            from batches
            inner join batches_changed on batches.batch_id = batches_changed.batch_id
            where not exists (
                select 1
                from batches as earlier
                where
                    earlier.source = batches.source
                    and earlier.state = 'accepted'
                    and earlier.batch_date < batches.batch_date
            )
        )
    {% if stated %}
    union all
    select
        loan_id,
        false as has_changed_rows,
        (select kept.from_on from kept) + 1 as changed_from
    from {{ stated }}
    where
        (select kept.is_whole from kept)
        and (next_event_on <= (select kept.to_on from kept) or state_from > (select kept.from_on from kept))
    {% endif %}
),

final as (
    select
        loan_id,
        min(changed_from) as changed_from,
        bool_or(has_changed_rows) as has_changed_rows
    from touched
    group by loan_id
)

select * from final
