-- Loans from their first disbursement on. One whose disbursement is undone is left out until it is disbursed again.
-- Read whole: Fineract's close of business writes last_closed_business_date into every open loan each night, so that
-- its last_modified_on_utc says nothing about a change.
with assumed as (
    -- What Fineract does not keep. Set it for your lender.
    select
        'IN' as governing_law,
        'consumer' as product_of_persons,
        'sme_term' as product_of_entities
),

-- In which order a payment meets the components of what is due. What is paid in advance follows other orders there;
-- the contract keeps it as standing credit, which pays what comes due in this order.
strategies (strategy_code, allocation_order, allocation_mode) as (
    values
    ('mifos-standard-strategy', 'penalty>fee>interest>principal', 'oldest_first'),
    ('heavensfamily-strategy', 'penalty>fee>interest>principal', 'oldest_first'),
    ('creocore-strategy', 'penalty>fee>interest>principal', 'oldest_first'),
    ('early-repayment-strategy', 'penalty>fee>interest>principal', 'oldest_first'),
    ('rbi-india-strategy', 'penalty>fee>interest>principal', 'component_first'),
    ('principal-interest-penalties-fees-order-strategy', 'principal>interest>penalty>fee', 'oldest_first'),
    ('interest-principal-penalties-fees-order-strategy', 'interest>principal>penalty>fee', 'oldest_first'),
    (
        'due-penalty-fee-interest-principal-in-advance-principal-penalty-fee-interest-strategy',
        'penalty>fee>interest>principal',
        'oldest_first'
    ),
    (
        'due-penalty-interest-principal-fee-in-advance-penalty-interest-principal-fee-strategy',
        'penalty>interest>principal>fee',
        'oldest_first'
    )
),

-- Advanced payment allocation: each loan has its own order, as PAST_DUE_PENALTY,PAST_DUE_FEE,...,IN_ADVANCE_INTEREST.
advanced_orders as (
    select
        rules.loan_id,
        string_agg(
            lower(replace(types.allocation_type, 'PAST_DUE_', '')), '>' order by types.position
        ) as allocation_order
    from m_loan_payment_allocation_rule as rules
    cross join lateral unnest(string_to_array(rules.allocation_types, ',')) with ordinality
        as types (allocation_type, position)
    where rules.transaction_type = 'DEFAULT' and types.allocation_type like 'PAST\_DUE\_%'
    group by rules.loan_id
),

final as (
    select
        cast(m_loan.id as text) as loan_id,
        coalesce('client-' || m_loan.client_id, 'group-' || m_loan.group_id) as borrower_id,
        case
            when m_client.legal_form_enum = 2 then assumed.product_of_entities
            else assumed.product_of_persons
        end as product,
        m_loan.currency_code as currency,
        case
            when m_product_loan.allow_multiple_disbursals then m_loan.approved_principal
            else m_loan.principal_amount
        end as principal_amount,
        m_product_loan.allow_multiple_disbursals as is_drawn_in_parts,
        m_loan.disbursedon_date as disbursed_on,
        coalesce(m_loan.maturedon_date, m_loan.expected_maturedon_date, m_loan.disbursedon_date) as maturity_on,
        coalesce(m_loan.annual_nominal_interest_rate, 0) / 100 as interest_rate,
        case when m_loan.is_floating_interest_rate then 'floating' else 'fixed' end as rate_type,
        coalesce(
            advanced_orders.allocation_order, strategies.allocation_order, 'penalty>fee>interest>principal'
        ) as allocation_order,
        case
            when advanced_orders.loan_id is null then coalesce(strategies.allocation_mode, 'oldest_first')
            when m_loan.loan_schedule_processing_type = 'VERTICAL' then 'component_first'
            else 'oldest_first'
        end as allocation_mode,
        coalesce(m_loan.grace_on_arrears_ageing, 0) as grace_days,
        coalesce(m_loan.arrearstolerance_amount, 0) as tolerance_amount,
        assumed.governing_law,
        case when m_client.legal_form_enum = 2 then null else 'retail' end as exposure_class,
        cast(refinanced.closure_loan_id as text) as refinances_loan_id,
        coalesce(m_office.external_id, cast(m_office.id as text)) as branch_code,
        cast(m_loan.loan_officer_id as text) as officer_id,
        false as is_green,
        -- LoanStatus: 600 closed, obligations met; 601 closed, written off; 602 closed, rescheduled into another loan.
        -- 700, overpaid, goes on: a chargeback opens it again, and until then its credit is the borrower's.
        case
            when m_loan.loan_status_id in (600, 602) then 'closed'
            when m_loan.loan_status_id = 601 or m_loan.is_charged_off then 'written_off'
            else 'active'
        end as status,
        case
            when m_loan.loan_status_id in (600, 602) then coalesce(m_loan.closedon_date, m_loan.rescheduledon_date)
            when m_loan.is_charged_off then coalesce(m_loan.charged_off_on_date, m_loan.writtenoffon_date)
            when m_loan.loan_status_id = 601 then coalesce(m_loan.writtenoffon_date, m_loan.closedon_date)
            else m_loan.disbursedon_date
        end as status_on,
        -- Fineract does not know:
        null as project_id, null as available_until, null as reference_rate, null as margin_rate,
        null as effective_rate, null as default_rate, null as default_after_days, null as called_on,
        null as call_reason, null as origination_channel, null as score_at_origination,
        null as default_probability_at_origination, null as is_credit_impaired_at_origination,
        null as collateral_ratio_at_origination, null as is_syndicated, null as syndicate_share
    from m_loan
    cross join assumed
    left join m_product_loan on m_loan.product_id = m_product_loan.id
    left join m_client on m_loan.client_id = m_client.id
    left join m_group on m_loan.group_id = m_group.id
    left join m_office on coalesce(m_client.office_id, m_group.office_id) = m_office.id
    left join strategies on m_loan.loan_transaction_strategy_code = strategies.strategy_code
    left join advanced_orders
        on
            m_loan.id = advanced_orders.loan_id
            and m_loan.loan_transaction_strategy_code = 'advanced-payment-allocation-strategy'
    left join m_loan_topup as refinanced on m_loan.id = refinanced.loan_id
    where
        m_loan.disbursedon_date is not null
        and m_loan.loan_status_id >= 300
        and m_loan.loan_status_id not in (400, 500)
)

select * from final
