with known as (
    {{ latest_known(source('servicing', 'legal_case_loans')) }}
),

final as (
    select
        case_id,
        loan_id
    from known
)

select * from final
