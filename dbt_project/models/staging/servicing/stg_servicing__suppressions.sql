with known as (
    {{ latest_known(source('servicing', 'suppressions')) }}
),

final as (
    select
        suppression_id,
        borrower_id,
        loan_id,
        channel,
        kind,
        starts_on,
        ends_on,
        origin
    from known
)

select * from final
