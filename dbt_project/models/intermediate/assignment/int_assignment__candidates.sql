{# What an account would bring, net of what it costs, with each recipient that may take it. The price is that of
   the tier in force when the account is placed, at its age then; where the contract has no such tier, the
   contract's own. An account stays with who holds it, under the contract it was placed under if that may still
   have it. One that comes back after days without an assignment stays while there is room, those that bring most
   first: its place may have been given to another since. #}
with eligible as (
    select * from {{ ref('int_assignment__loans_eligible') }}
),

terms as (
    select * from {{ ref('stg_servicing__agency_contract_terms') }}
),

recovery_rates as (
    select * from {{ ref('recovery_rates') }}
),

conversions as (
    select * from {{ ref('int_assignment__currencies_converted') }}
),

holdings as (
    select * from {{ ref('int_assignment__holdings') }}
),

reserved as (
    select * from {{ ref('int_assignment__places_reserved') }}
),

contracts as (
    select * from {{ ref('int_assignment__contracts_open') }}
),

placed as (
    select
        *,
        coalesce(case when is_held_under_contract then held_since_on end, work_on) as placed_on,
        case
            when is_held_under_contract
                then greatest(days_past_due - ({{ as_of_date() }} - least(held_since_on, {{ as_of_date() }})), 0)
            else days_past_due
        end as days_past_due_when_placed
    from eligible
),

tiers as (
    select distinct on (placed.loan_id, placed.contract_id)
        placed.loan_id,
        placed.contract_id,
        terms.commission_share,
        terms.fixed_cost_amount
    from placed
    inner join terms
        on
            placed.contract_id = terms.contract_id
            and placed.placed_on >= terms.starts_on
            and placed.days_past_due_when_placed >= terms.age_from_days
            and (terms.age_to_days is null or placed.days_past_due_when_placed <= terms.age_to_days)
    order by placed.loan_id asc, placed.contract_id asc, terms.starts_on desc, terms.age_from_days desc
),

priced as (
    select
        placed.loan_id,
        placed.borrower_id,
        placed.group_key,
        placed.agency_id,
        placed.contract_id,
        placed.recipient_kind,
        placed.currency,
        placed.held_agency_id,
        placed.placed_on,
        placed.is_held_under_contract,
        placed.bucket,
        placed.arrears_amount,
        recovery_rates.recovery_rate,
        coalesce(placed.contract_currency, placed.currency) as cost_currency,
        coalesce(tiers.commission_share, placed.commission_share) as commission_share,
        coalesce(tiers.fixed_cost_amount, placed.fixed_cost_amount) as fixed_cost_amount
    from placed
    inner join recovery_rates
        on
            placed.bucket = recovery_rates.bucket
            and placed.recipient_kind = recovery_rates.recipient_kind
            and {{ as_of_date() }} >= recovery_rates.valid_from
            and (recovery_rates.valid_to is null or {{ as_of_date() }} <= recovery_rates.valid_to)
    left join tiers
        on
            placed.loan_id = tiers.loan_id
            and placed.contract_id = tiers.contract_id
),

valued as (
    select
        priced.loan_id,
        priced.borrower_id,
        priced.group_key,
        priced.agency_id,
        priced.contract_id,
        priced.recipient_kind,
        priced.currency,
        priced.held_agency_id,
        priced.placed_on,
        priced.is_held_under_contract,
        cast(
            priced.arrears_amount * priced.recovery_rate * (1 - priced.commission_share) * to_income.rate
            - priced.fixed_cost_amount * to_cost.rate as numeric(20, 4)
        ) as expected_net_amount,
        'Bucket ' || priced.bucket || ': ' || round(priced.recovery_rate * 100, 1) || ' % of '
        || round(priced.arrears_amount, 2) || ' ' || priced.currency || ', less commission of '
        || round(priced.commission_share * 100, 1) || ' %'
        || case
            when priced.fixed_cost_amount > 0
                then ' and ' || round(priced.fixed_cost_amount, 2) || ' ' || priced.cost_currency
            else ''
        end as reason
    from priced
    inner join conversions as to_income on priced.currency = to_income.currency
    inner join conversions as to_cost on priced.cost_currency = to_cost.currency
),

owned as (
    select
        *,
        coalesce(agency_id = held_agency_id, false)
        and row_number() over (
            partition by loan_id, agency_id
            order by is_held_under_contract desc, expected_net_amount desc, contract_id asc
        ) = 1 as is_held
    from valued
),

seated as (
    select
        owned.loan_id,
        owned.contract_id,
        holdings.is_returning,
        row_number() over (
            partition by owned.contract_id
            order by holdings.is_returning asc, owned.expected_net_amount desc, owned.loan_id asc
        ) as seat_number
    from owned
    inner join holdings on owned.loan_id = holdings.loan_id
    where
        owned.is_held
        and not holdings.is_placement
        and owned.expected_net_amount > 0
),

places as (
    select
        contract_id,
        count(*) as reserved_count
    from reserved
    group by contract_id
),

without_room as (
    select
        seated.loan_id,
        seated.contract_id
    from seated
    inner join contracts on seated.contract_id = contracts.contract_id
    left join places on seated.contract_id = places.contract_id
    where
        seated.is_returning
        and seated.seat_number + coalesce(places.reserved_count, 0) > contracts.capacity
),

final as (
    select
        owned.loan_id,
        owned.borrower_id,
        owned.group_key,
        owned.agency_id,
        owned.contract_id,
        owned.recipient_kind,
        owned.currency,
        owned.held_agency_id,
        owned.placed_on,
        owned.is_held and without_room.loan_id is null as is_held,
        owned.expected_net_amount,
        owned.reason
    from owned
    left join without_room
        on
            owned.loan_id = without_room.loan_id
            and owned.contract_id = without_room.contract_id
)

select * from final
