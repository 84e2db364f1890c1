with known as (
    {{ latest_known(source('servicing', 'loans')) }}
),

final as (
    select
        loan_id,
        borrower_id,
        project_id,
        product,
        upper(currency) as currency,
        principal_amount,
        is_drawn_in_parts,
        available_until,
        disbursed_on,
        maturity_on,
        interest_rate,
        rate_type,
        reference_rate,
        margin_rate,
        effective_rate,
        default_rate,
        allocation_order,
        allocation_mode,
        grace_days,
        tolerance_amount,
        default_after_days,
        called_on,
        call_reason,
        governing_law,
        exposure_class,
        refinances_loan_id,
        branch_code,
        officer_id,
        origination_channel,
        score_at_origination,
        default_probability_at_origination,
        is_credit_impaired_at_origination,
        collateral_ratio_at_origination,
        is_syndicated,
        syndicate_share,
        is_green,
        status,
        status_on
    from known
)

select * from final
