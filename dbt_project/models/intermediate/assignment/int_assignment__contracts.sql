{# What the solver must know of a contract. Placements count against the capacity until they are recalled, whatever has
   become of the account; an earlier assignment counts while it stands. #}
with contracts as (
    select * from {{ ref('int_assignment__contracts_open') }}
),

holdings as (
    select * from {{ ref('int_assignment__holdings') }}
),

candidates as (
    select * from {{ ref('int_assignment__candidates') }}
),

placed as (
    select
        contract_id,
        loan_id
    from holdings
    where is_placement
    union
    select
        contract_id,
        loan_id
    from candidates
    where
        is_held
        and expected_net_amount > 0
),

held as (
    select
        contract_id,
        count(*) as held_count
    from placed
    group by contract_id
),

final as (
    select
        contracts.contract_id,
        contracts.agency_id,
        contracts.capacity,
        contracts.daily_intake,
        cast(coalesce(held.held_count, 0) as integer) as held_count,
        contracts.minimum_share
    from contracts
    left join held on contracts.contract_id = held.contract_id
)

select * from final
