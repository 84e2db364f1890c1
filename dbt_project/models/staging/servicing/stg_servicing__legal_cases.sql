with known as (
    {{ latest_known(source('servicing', 'legal_cases')) }}
),

final as (
    select
        case_id,
        agency_id,
        country,
        court,
        upper(currency) as currency,
        filed_on,
        claimed_amount,
        judgment_on,
        judgment_for_lender,
        judgment_amount,
        instrument,
        execution_notice_on,
        enforcement_applied_on,
        enforcement_ended_on,
        enforcement_result,
        dishonesty_ground,
        closed_on
    from known
)

select * from final
