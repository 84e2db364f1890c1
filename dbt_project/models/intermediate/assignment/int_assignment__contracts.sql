{# What the solver must know of a contract. Reserved places count against the capacity, and so does an earlier
   assignment that stands. Several days' runs may prepare one
   working day (a weekend's), so what earlier ones gave for it counts against the daily intake. #}
with contracts as (
    select * from {{ ref('int_assignment__contracts_open') }}
),

holdings as (
    select * from {{ ref('int_assignment__holdings') }}
),

reserved as (
    select * from {{ ref('int_assignment__places_reserved') }}
),

candidates as (
    select * from {{ ref('int_assignment__candidates') }}
),

held as (
    select
        contract_id,
        loan_id,
        placed_on
    from reserved
    union all
    select
        candidates.contract_id,
        candidates.loan_id,
        candidates.placed_on
    from candidates
    inner join holdings on candidates.loan_id = holdings.loan_id
    where
        not holdings.is_placement
        and candidates.is_held
        and candidates.expected_net_amount > 0
),

final as (
    select
        contracts.contract_id,
        contracts.agency_id,
        contracts.capacity,
        contracts.daily_intake,
        cast(count(held.loan_id) as integer) as held_count,
        cast(count(held.loan_id) filter (where held.placed_on >= contracts.work_on) as integer) as taken_in_count,
        contracts.minimum_share
    from contracts
    left join held on contracts.contract_id = held.contract_id
    group by
        contracts.contract_id, contracts.agency_id, contracts.capacity, contracts.daily_intake, contracts.minimum_share
)

select * from final
