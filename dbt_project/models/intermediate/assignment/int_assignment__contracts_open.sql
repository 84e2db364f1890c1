{# The contracts of recipients that are open on their working day, and in force on it. A contract that is not in
   force may hold accounts, but nothing is placed under it and nothing stays. #}
with recipients as (
    select * from {{ ref('int_assignment__recipients') }}
),

contracts as (
    select * from {{ ref('stg_servicing__agency_contracts') }}
),

internal_teams as (
    select * from {{ ref('internal_teams') }}
),

offered as (
    select
        contract_id,
        agency_id,
        starts_on,
        ends_on,
        product,
        currency,
        dpd_from,
        dpd_to,
        balance_from,
        balance_to,
        capacity,
        daily_intake,
        minimum_share,
        commission_share,
        fixed_cost_amount,
        false as is_stand_in
    from contracts
    union all
    select
        contract_id,
        agency_id,
        cast('0001-01-01' as date) as starts_on,
        cast(null as date) as ends_on,
        cast(null as text) as product,
        cast(null as text) as currency,
        0 as dpd_from,
        cast(null as integer) as dpd_to,
        0 as balance_from,
        cast(null as numeric(20, 4)) as balance_to,
        cast(null as integer) as capacity,
        cast(null as integer) as daily_intake,
        cast(null as numeric(9, 8)) as minimum_share,
        commission_share,
        fixed_cost_amount,
        true as is_stand_in
    from internal_teams
),

final as (
    select
        offered.contract_id,
        offered.agency_id,
        recipients.kind as recipient_kind,
        recipients.work_on,
        recipients.needs_licence,
        offered.starts_on,
        offered.ends_on,
        offered.product,
        offered.currency,
        offered.dpd_from,
        offered.dpd_to,
        offered.balance_from,
        offered.balance_to,
        offered.capacity,
        offered.daily_intake,
        offered.minimum_share,
        offered.commission_share,
        offered.fixed_cost_amount
    from offered
    inner join recipients
        on
            offered.agency_id = recipients.agency_id
            and offered.is_stand_in = recipients.is_stand_in
    where
        recipients.work_on >= recipients.opened_on
        and (recipients.closed_on is null or recipients.work_on < recipients.closed_on)
        and recipients.work_on >= offered.starts_on
        and (offered.ends_on is null or recipients.work_on <= offered.ends_on)
)

select * from final
