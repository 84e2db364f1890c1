{# The loans whose day must be read again, with the claims of the version in force on that day and what the credits of
   those days pay of them, as known now: stacked, as int_delinquency__loans_stacked keeps them. #}
{{ config(post_hook='analyze {{ this }}') }}

with figures as (
    select * from {{ ref('int_reconciliation__figures_compared') }}
),

stacked as (
    select * from {{ ref('int_delinquency__loans_stacked') }}
),

final as (
    select
        figures.loan_id,
        figures.balance_on,
        figures.is_revolving,
        stacked.schedule_version,
        stacked.epoch_from,
        stacked.replayed_from,
        figures.days_past_due,
        figures.servicer_days_past_due,
        figures.tolerance_amount,
        figures.arrears_amount,
        figures.servicer_arrears_amount,
        coalesce(stacked.used_amounts[width_bucket(figures.balance_on, stacked.credited_ons)], 0) as used_amount,
        stacked.due_ons,
        stacked.due_amounts
    from figures
    inner join stacked
        on
            figures.loan_id = stacked.loan_id
            and figures.balance_on >= stacked.epoch_from
            and figures.balance_on < stacked.epoch_until
    where figures.cause is null
)

select * from final
