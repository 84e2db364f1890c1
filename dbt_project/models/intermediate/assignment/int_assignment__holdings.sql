{# Who holds an account: its open placement, as the lender's system confirms it; else the assignment of the latest
   exported day, unless the account was recalled since. #}
with placements as (
    select * from {{ ref('stg_servicing__placements') }}
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

standing as (
    select
        assignments.loan_id,
        assignments.agency_id,
        assignments.contract_id,
        assignments.assigned_on
    from assignments
    where
        assignments.as_of_date = (select max(exported.as_of_date) from assignments as exported)
        and not exists (
            select 1
            from placements
            where
                placements.loan_id = assignments.loan_id
                and placements.agency_id = assignments.agency_id
                and placements.recalled_on > assignments.as_of_date
                and placements.recalled_on <= {{ as_of_date() }}
        )
),

final as (
    select
        loan_id,
        agency_id,
        contract_id,
        placed_on as held_since_on,
        true as is_placement
    from open_placements
    union all
    select
        standing.loan_id,
        standing.agency_id,
        standing.contract_id,
        standing.assigned_on as held_since_on,
        false as is_placement
    from standing
    left join open_placements on standing.loan_id = open_placements.loan_id
    where open_placements.loan_id is null
)

select * from final
