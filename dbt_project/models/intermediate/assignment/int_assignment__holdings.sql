{# Who holds an account: its open placement, as the lender's system confirms it; else its latest assignment of an
   exported day, however long ago, unless the account was recalled since. Days on which it was given to nobody (held
   back, paid up, suppressed) end nothing, and neither do days without any assignment: no mart keeps what an account
   was like on past days, so that it was paid up in between cannot be read. #}
{{ config(
    pre_hook="create index if not exists agency_assignment_by_loan
              on {{ source('published', 'agency_assignment').render() }} (loan_id, as_of_date)"
) }}
with placements as (
    select * from {{ ref('stg_servicing__placements') }}
),

loans as (
    select * from {{ ref('loan_delinquency') }}
),

exports as (
    {{ exported_before(source('ops', 'exports')) }}
),

assignments as (
    {{ exported_before(source('published', 'agency_assignment')) }}
),

open_placements as (
    select distinct on (loan_id)
        loan_id,
        agency_id,
        contract_id,
        placed_on
    from placements
    where
        placed_on <= {{ as_of_date() }}
        and (recalled_on is null or recalled_on > {{ as_of_date() }})
    order by loan_id asc, placed_on desc, placement_id desc
),

{# One look into the index for each delinquent loan: years of days are never read whole. #}
latest as (
    select
        loans.loan_id,
        assigned.agency_id,
        assigned.contract_id,
        assigned.assigned_on,
        assigned.as_of_date
    from loans
    inner join lateral (
        select
            assignments.agency_id,
            assignments.contract_id,
            assignments.assigned_on,
            assignments.as_of_date
        from assignments
        where assignments.loan_id = loans.loan_id
        order by assignments.as_of_date desc
        limit 1
    ) as assigned on true
    where loans.days_delinquent >= 1
),

last_exported as (
    select max(as_of_date) as as_of_date
    from exports
),

{# A recall that was known when the account was given again, to begin on a later day, is over. #}
standing as (
    select
        latest.loan_id,
        latest.agency_id,
        latest.contract_id,
        latest.assigned_on,
        latest.as_of_date < last_exported.as_of_date as is_returning
    from latest
    cross join last_exported
    where
        not exists (
            select 1
            from placements
            where
                placements.loan_id = latest.loan_id
                and placements.agency_id = latest.agency_id
                and (placements.recalled_on > latest.as_of_date or placements.recalled_on >= latest.assigned_on)
                and placements.recalled_on <= {{ as_of_date() }}
        )
),

final as (
    select
        loan_id,
        agency_id,
        contract_id,
        placed_on as held_since_on,
        true as is_placement,
        false as is_returning
    from open_placements
    union all
    select
        standing.loan_id,
        standing.agency_id,
        standing.contract_id,
        standing.assigned_on as held_since_on,
        false as is_placement,
        standing.is_returning
    from standing
    left join open_placements on standing.loan_id = open_placements.loan_id
    where open_placements.loan_id is null
)

select * from final
