{# The whole principal of a late loan is at risk, not its arrears alone; restructured loans are at risk however
   punctual, written-off ones stand in neither part (GIIN FP2635). #}
with loans as (
    select * from {{ ref('loan_delinquency') }}
),

final as (
    select
        as_of_date,
        currency,
        product,
        governing_law,
        cast(count(*) as integer) as loan_count,
        cast(count(*) filter (where outstanding_principal_amount is null) as integer) as unknown_balance_count,
        cast(count(*) filter (where days_past_due > 1 or is_restructured) as integer) as par_1_count,
        cast(count(*) filter (where days_past_due > 30 or is_restructured) as integer) as par_30_count,
        cast(count(*) filter (where days_past_due > 60 or is_restructured) as integer) as par_60_count,
        cast(count(*) filter (where days_past_due > 90 or is_restructured) as integer) as par_90_count,
        cast(count(*) filter (where days_past_due > 180 or is_restructured) as integer) as par_180_count,
        cast(coalesce(sum(outstanding_principal_amount), 0) as numeric(20, 4)) as balance_amount,
        cast(
            coalesce(sum(outstanding_principal_amount) filter (where days_past_due > 1 or is_restructured), 0)
            as numeric(20, 4)
        ) as par_1_amount,
        cast(
            coalesce(sum(outstanding_principal_amount) filter (where days_past_due > 30 or is_restructured), 0)
            as numeric(20, 4)
        ) as par_30_amount,
        cast(
            coalesce(sum(outstanding_principal_amount) filter (where days_past_due > 60 or is_restructured), 0)
            as numeric(20, 4)
        ) as par_60_amount,
        cast(
            coalesce(sum(outstanding_principal_amount) filter (where days_past_due > 90 or is_restructured), 0)
            as numeric(20, 4)
        ) as par_90_amount,
        cast(
            coalesce(sum(outstanding_principal_amount) filter (where days_past_due > 180 or is_restructured), 0)
            as numeric(20, 4)
        ) as par_180_amount,
        cast(
            coalesce(sum(outstanding_principal_amount) filter (where days_past_due <= 30 and is_restructured), 0)
            as numeric(20, 4)
        ) as restructured_amount
    from loans
    where status <> 'written_off'
    group by as_of_date, currency, product, governing_law
)

select * from final
