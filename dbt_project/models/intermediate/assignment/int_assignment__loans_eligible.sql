{# Who may take what, judged on the recipient's working day. An account that a placement holds was judged when it
   was placed: growing older or larger does not take it away, but a lapsed licence, a conflict or the end of the
   contract does. #}
with loans as (
    select * from {{ ref('int_assignment__loans_to_place') }}
),

contracts as (
    select * from {{ ref('int_assignment__contracts_open') }}
),

holdings as (
    select * from {{ ref('int_assignment__holdings') }}
),

licences as (
    select * from {{ ref('stg_servicing__agency_licences') }}
),

conflicts as (
    select * from {{ ref('stg_servicing__agency_conflicts') }}
),

suppressed as (
    select * from {{ ref('int_assignment__loans_suppressed') }}
),

jurisdictions as (
    select distinct
        contracts.contract_id,
        upper(licences.jurisdiction) as jurisdiction
    from contracts
    inner join licences on contracts.agency_id = licences.agency_id
    where
        licences.starts_on <= contracts.work_on
        and (licences.ends_on is null or licences.ends_on >= contracts.work_on)
),

final as (
    select
        loans.loan_id,
        loans.borrower_id,
        loans.group_key,
        contracts.agency_id,
        contracts.contract_id,
        contracts.recipient_kind,
        loans.currency,
        contracts.currency as contract_currency,
        loans.bucket,
        contracts.work_on,
        holdings.held_since_on,
        coalesce(holdings.contract_id = contracts.contract_id, false) as is_held_under_contract,
        loans.days_past_due,
        contracts.commission_share,
        contracts.fixed_cost_amount,
        loans.arrears_amount,
        holdings.agency_id as held_agency_id
    from loans
    cross join contracts
    left join holdings on loans.loan_id = holdings.loan_id
    left join jurisdictions
        on
            contracts.contract_id = jurisdictions.contract_id
            and loans.jurisdiction = jurisdictions.jurisdiction
    left join conflicts
        on
            contracts.agency_id = conflicts.agency_id
            and loans.borrower_id = conflicts.borrower_id
    left join suppressed
        on
            loans.loan_id = suppressed.loan_id
            and contracts.work_on = suppressed.work_on
    where
        (not contracts.needs_licence or jurisdictions.contract_id is not null)
        and conflicts.agency_id is null
        and suppressed.loan_id is null
        and (
            (holdings.is_placement and holdings.contract_id = contracts.contract_id)
            or (
                (contracts.product is null or contracts.product = loans.product)
                and (contracts.currency is null or contracts.currency = loans.currency)
                and loans.days_past_due >= contracts.dpd_from
                and (contracts.dpd_to is null or loans.days_past_due <= contracts.dpd_to)
                and loans.balance_amount >= contracts.balance_from
                and (contracts.balance_to is null or loans.balance_amount <= contracts.balance_to)
            )
        )
)

select * from final
