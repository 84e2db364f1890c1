{# The state of every loan at D, read off its stacked claims and credits, or off its replay. It stays so until
   next_event_on, the day that by itself brings something: a claim due or past due, a booking's value date, a charge that
   lapses, another version of the schedule, the end of the loan. #}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        access='protected',
        indexes=[{'columns': ['loan_id'], 'unique': true}],
        pre_hook="{{ take_touched_out() }}",
        post_hook=["{{ mark_kept() }}", "{{ analyse_kept() }}"],
    )
}}
-- depends_on: {{ ref('loan_delinquency_history') }}
-- depends_on: {{ ref('int_delinquency__month_ends') }}

with loans as (
    select * from {{ ref('stg_servicing__loans') }}
),

touched as (
    select * from {{ ref('int_delinquency__loans_touched') }}
),

stacked as (
    select * from {{ ref('int_delinquency__loans_stacked') }}
),

replayed as (
    select * from {{ ref('int_delinquency__days_replayed') }}
),

loans_to_state as (
    select
        loans.loan_id,
        loans.disbursed_on,
        case when loans.status <> 'active' then loans.status_on end as ends_on,
        greatest(loans.disbursed_on, {{ as_of_date() }}) as state_on
    from loans
    {% if is_incremental() %}
    inner join touched on loans.loan_id = touched.loan_id
    {% endif %}
),

stated as (
    select
        loans_to_state.loan_id,
        stacked.schedule_version,
        stacked.is_replayed,
        stacked.is_revolving,
        replayed.refused_refund_count,
        loans_to_state.disbursed_on,
        loans_to_state.ends_on,
        stacked.epoch_from,
        stacked.epoch_until,
        loans_to_state.state_on,
        replayed.state_on as replayed_state_on,
        replayed.state_until as replayed_state_until,
        states.due_count,
        states.past_count,
        stacked.due_ons,
        stacked.credited_ons,
        stacked.payment_ons,
        stacked.disbursed_ons,
        case
            when stacked.is_replayed then replayed.oldest_unpaid_due_on
            else states.oldest_unpaid_due_on
        end as oldest_unpaid_due_on,
        stacked.payment_ons[width_bucket(loans_to_state.state_on, stacked.payment_ons)] as last_payment_on,
        case
            when stacked.is_replayed then replayed.instalments_past_due
            else states.instalments_past_due
        end as instalments_past_due,
        {% for component in ['principal', 'interest', 'fee', 'penalty'] %}
        case
            when stacked.is_replayed then replayed.arrears_{{ component }}_amount
            else states.arrears_{{ component }}_amount
        end as arrears_{{ component }}_amount,
        {% endfor %}
        case
            when stacked.is_replayed then replayed.unpaid_principal_amount
            else states.unpaid_principal_amount
        end as unpaid_principal_amount,
        case
            when stacked.is_replayed then replayed.unpaid_principal_amount + replayed.unpaid_other_amount
            else states.unpaid_amount
        end as unpaid_amount,
        states.coming_principal_amount,
        states.undrawn_amount,
        case
            when stacked.is_replayed then replayed.due_amount
            else coalesce(stacked.due_amounts[states.due_count], 0)
        end as due_amount,
        case
            when stacked.is_replayed then replayed.paid_amount
            else least(coalesce(stacked.due_amounts[states.due_count], 0), states.used_amount)
        end as paid_amount,
        case when stacked.is_replayed then replayed.waived_amount else 0 end as waived_amount,
        case
            when stacked.is_replayed then replayed.credited_amount
            when stacked.is_revolving
                then
                    coalesce(
                        stacked.credited_amounts[width_bucket(loans_to_state.state_on, stacked.credited_ons)], 0
                    )
            else states.used_amount
        end as credited_amount,
        case when stacked.is_replayed then replayed.refunded_amount else 0 end as refunded_amount,
        case
            when stacked.is_replayed then replayed.standing_amount
            when stacked.is_revolving
                then
                    coalesce(
                        stacked.credited_amounts[width_bucket(loans_to_state.state_on, stacked.credited_ons)], 0
                    ) - states.used_amount
            else greatest(states.used_amount - coalesce(stacked.due_amounts[states.due_count], 0), 0)
        end as standing_amount
    from loans_to_state
    inner join stacked
        on
            loans_to_state.loan_id = stacked.loan_id
            and loans_to_state.state_on >= stacked.epoch_from
            and loans_to_state.state_on < stacked.epoch_until
    left join replayed
        on
            stacked.loan_id = replayed.loan_id
            and stacked.epoch_from = replayed.epoch_from
            and loans_to_state.state_on >= replayed.state_on
            and loans_to_state.state_on < replayed.state_until
    cross join lateral {{ states_on('(select loans_to_state.state_on)') }} as states
    offset 0 -- noqa: AM09
),

{# The days on which the state begins and ends, among those that the loan's rows name. #}
with_events as (
    select
        *,
        greatest(
            disbursed_on,
            epoch_from,
            case when is_replayed then replayed_state_on end,
            due_ons[due_count],
            due_ons[past_count] + 1,
            credited_ons[width_bucket({{ as_of_date() }}, credited_ons)],
            last_payment_on,
            disbursed_ons[width_bucket({{ as_of_date() }}, disbursed_ons)],
            case when ends_on <= {{ as_of_date() }} then ends_on end
        ) as state_from,
        least(
            case when disbursed_on > {{ as_of_date() }} then disbursed_on end,
            nullif(epoch_until, cast('infinity' as date)),
            case when is_replayed then nullif(replayed_state_until, cast('infinity' as date)) end,
            due_ons[due_count + 1],
            case when past_count < due_count then state_on + 1 end,
            credited_ons[1 + coalesce(width_bucket({{ as_of_date() }}, credited_ons), 0)],
            payment_ons[1 + coalesce(width_bucket({{ as_of_date() }}, payment_ons), 0)],
            disbursed_ons[1 + coalesce(width_bucket({{ as_of_date() }}, disbursed_ons), 0)],
            case when ends_on > {{ as_of_date() }} then ends_on end
        ) as next_event_on
    from stated
),

final as (
    select
        loan_id,
        schedule_version,
        is_replayed,
        is_revolving,
        oldest_unpaid_due_on,
        last_payment_on,
        state_from,
        next_event_on,
        coalesce(refused_refund_count, 0) as refused_refund_count,
        instalments_past_due,
        cast(
            arrears_principal_amount + arrears_interest_amount + arrears_fee_amount + arrears_penalty_amount
            as numeric(20, 4)
        ) as arrears_amount,
        cast(arrears_principal_amount as numeric(20, 4)) as arrears_principal_amount,
        cast(arrears_interest_amount as numeric(20, 4)) as arrears_interest_amount,
        cast(arrears_fee_amount as numeric(20, 4)) as arrears_fee_amount,
        cast(arrears_penalty_amount as numeric(20, 4)) as arrears_penalty_amount,
        cast(unpaid_amount as numeric(20, 4)) as unpaid_due_amount,
        cast(
            coming_principal_amount + unpaid_principal_amount - undrawn_amount as numeric(20, 4)
        ) as outstanding_principal_amount,
        cast(coming_principal_amount + unpaid_amount - undrawn_amount as numeric(20, 4)) as outstanding_amount,
        cast(undrawn_amount as numeric(20, 4)) as undrawn_amount,
        cast(due_amount as numeric(20, 4)) as due_amount,
        cast(paid_amount as numeric(20, 4)) as paid_amount,
        cast(waived_amount as numeric(20, 4)) as waived_amount,
        cast(credited_amount as numeric(20, 4)) as credited_amount,
        cast(refunded_amount as numeric(20, 4)) as refunded_amount,
        cast(standing_amount as numeric(20, 4)) as standing_amount
    from with_events
)

select * from final
