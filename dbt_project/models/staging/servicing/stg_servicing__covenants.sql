with known as (
    {{ latest_known(source('servicing', 'covenants')) }}
),

final as (
    select
        covenant_id,
        loan_id,
        metric,
        comparison,
        threshold,
        tested_every_months,
        cure_days,
        starts_on,
        ends_on,
        waived_until
    from known
)

select * from final
