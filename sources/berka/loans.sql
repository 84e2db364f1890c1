-- The bank's own status A-D is its outcome at the end of 1998 and is not read: delinquency has to come from the bookings.
-- A loan is closed on the day of the payment that completed it; until then it is active, matured or not.
with granted as (
    select
        loan.loan_id,
        loan.account_id,
        loan.amount,
        cast(loan.duration as integer) as instalment_count,
        cast(strptime('19' || loan.date, '%Y%m%d') as date) as granted_on,
        loan._file,
        loan._line
    from loan
),

dated as (
    select
        *,
        -- The first 12th on or after the day the loan was granted.
        cast(
            date_trunc('month', granted_on)
            + to_months(case when day(granted_on) <= 12 then 0 else 1 end) + to_days(11) as date
        ) as first_due_on
    from granted
),

payments as (
    select
        loan_id,
        paid_on,
        row_number() over (partition by loan_id order by paid_on) as payment_number
    from loan_payments_reconstructed
),

final as (
    select
        dated.loan_id,
        'client-' || disp.client_id as borrower_id,
        'consumer' as product,
        'CZK' as currency,
        dated.amount as principal_amount,
        false as is_drawn_in_parts,
        dated.granted_on as disbursed_on,
        cast(dated.first_due_on + to_months(dated.instalment_count - 1) as date) as maturity_on,
        -- The data knows one number for an instalment and no interest.
        0 as interest_rate,
        'fixed' as rate_type,
        'penalty>fee>interest>principal' as allocation_order,
        'oldest_first' as allocation_mode,
        0 as grace_days,
        0 as tolerance_amount,
        'CZ' as governing_law,
        'retail' as exposure_class,
        account.district_id as branch_code,
        false as is_green,
        case when payments.loan_id is null then 'active' else 'closed' end as status,
        coalesce(payments.paid_on, cast(dated.granted_on as varchar)) as status_on,
        -- The data does not know:
        null as project_id, null as available_until, null as reference_rate, null as margin_rate,
        null as effective_rate, null as default_rate, null as default_after_days, null as called_on,
        null as call_reason, null as refinances_loan_id, null as officer_id, null as origination_channel,
        null as score_at_origination, null as default_probability_at_origination,
        null as is_credit_impaired_at_origination, null as collateral_ratio_at_origination, null as is_syndicated,
        null as syndicate_share,
        dated._file,
        dated._line
    from dated
    inner join account on dated.account_id = account.account_id
    inner join disp on dated.account_id = disp.account_id and disp.type = 'OWNER'
    left join payments on dated.loan_id = payments.loan_id and dated.instalment_count = payments.payment_number
)

select * from final
