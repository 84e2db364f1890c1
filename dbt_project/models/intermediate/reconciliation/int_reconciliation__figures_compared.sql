{# What the servicing system says beside what we say of the same day, as known now. Where one rule of counting days
   explains the difference, the cause is settled here; null: the day must be read again (readings_tried). #}
{{ config(post_hook='analyze {{ this }}') }}

with balances as (
    select * from {{ ref('stg_servicing__servicer_balances') }}
),

loans as (
    select * from {{ ref('stg_servicing__loans') }}
),

history as (
    select * from {{ ref('loan_delinquency_history') }}
),

forbearances as (
    select * from {{ ref('stg_servicing__forbearances') }}
),

latest as (
    select distinct on (loan_id)
        loan_id,
        balance_on,
        days_past_due,
        arrears_amount
    from balances
    where balance_on <= {{ as_of_date() }} and (days_past_due is not null or arrears_amount is not null)
    order by loan_id asc, balance_on desc
),

side_by_side as (
    select
        loans.loan_id,
        loans.product,
        loans.currency,
        latest.balance_on,
        own.oldest_unpaid_due_on,
        own.loan_id is not null as has_state,
        loans.product = 'revolving' as is_revolving,
        loans.grace_days,
        coalesce(latest.balance_on - own.oldest_unpaid_due_on, 0) as days_past_due,
        latest.days_past_due as servicer_days_past_due,
        coalesce(latest.balance_on - 1 - day_before.oldest_unpaid_due_on, 0) as days_past_due_before,
        loans.tolerance_amount,
        own.arrears_amount,
        latest.arrears_amount as servicer_arrears_amount,
        day_before.arrears_amount as arrears_before_amount
    from latest
    inner join loans on latest.loan_id = loans.loan_id
    left join history as own
        on
            latest.loan_id = own.loan_id
            and latest.balance_on >= own.valid_from
            and (own.valid_to is null or latest.balance_on <= own.valid_to)
    left join history as day_before
        on
            latest.loan_id = day_before.loan_id
            and latest.balance_on - 1 >= day_before.valid_from
            and (day_before.valid_to is null or latest.balance_on - 1 <= day_before.valid_to)
),

pauses as (
    select
        side_by_side.loan_id,
        range_agg(daterange(forbearances.starts_on, forbearances.ends_on, '[)'))
        * datemultirange(daterange(side_by_side.oldest_unpaid_due_on, side_by_side.balance_on, '[)')) as paused_on
    from forbearances
    inner join side_by_side on forbearances.loan_id = side_by_side.loan_id
    where
        forbearances.kind = 'delinquency_pause'
        and (forbearances.ends_on is null or forbearances.ends_on > forbearances.starts_on)
        and side_by_side.oldest_unpaid_due_on is not null
    group by side_by_side.loan_id, side_by_side.oldest_unpaid_due_on, side_by_side.balance_on
),

pauses_counted as (
    select
        pauses.loan_id,
        cast((
            select coalesce(sum(upper(stretch) - lower(stretch)), 0)
            from unnest(pauses.paused_on) as stretches (stretch)
        ) as integer) as days_paused
    from pauses
),

counted as (
    select
        side_by_side.*,
        coalesce(pauses_counted.days_paused, 0) as days_paused,
        coalesce(side_by_side.servicer_days_past_due = side_by_side.days_past_due, true) as days_agree,
        coalesce(side_by_side.servicer_arrears_amount = side_by_side.arrears_amount, true) as arrears_agree,
        coalesce(side_by_side.servicer_days_past_due, 0) = 0
        and coalesce(side_by_side.servicer_arrears_amount, 0) = 0 as is_nothing_late_at_servicer
    from side_by_side
    left join pauses_counted on side_by_side.loan_id = pauses_counted.loan_id
),

final as (
    select
        loan_id,
        product,
        currency,
        balance_on,
        is_revolving,
        has_state,
        days_agree,
        arrears_agree,
        case when has_state then days_past_due end as days_past_due,
        servicer_days_past_due,
        days_past_due_before,
        tolerance_amount,
        arrears_amount,
        servicer_arrears_amount,
        arrears_before_amount,
        case
            when not has_state then case when is_nothing_late_at_servicer then 'none' else 'no_state' end
            when days_agree and arrears_agree then 'none'
            when arrears_amount > 0 and arrears_amount <= tolerance_amount and is_nothing_late_at_servicer
                then 'tolerance'
            when days_past_due = 0 or servicer_days_past_due is null then null
            when
                arrears_agree and days_paused > 0
                and servicer_days_past_due = days_past_due - days_paused
                then 'pause'
            when
                (arrears_agree or is_nothing_late_at_servicer) and grace_days > 0
                and servicer_days_past_due = greatest(days_past_due - grace_days, 0)
                then 'grace'
            when
                (arrears_agree or is_nothing_late_at_servicer) and grace_days > 0 and days_paused > 0
                and servicer_days_past_due = greatest(days_past_due - days_paused - grace_days, 0)
                then 'pause_and_grace'
            when arrears_agree and servicer_days_past_due = days_past_due + 1 then 'cut_off'
            when
                arrears_agree and servicer_days_past_due > 0
                and servicer_days_past_due in (
                    30 * ({{ full_months('oldest_unpaid_due_on', 'balance_on') }}),
                    30 * ({{ full_months('oldest_unpaid_due_on', '(balance_on + 1)') }})
                )
                then 'months'
        end as cause
    from counted
)

select * from final
