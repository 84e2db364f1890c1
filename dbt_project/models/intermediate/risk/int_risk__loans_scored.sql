{# Every loan's score under every scorecard in use at D, changed or not. Higher is better. Which reasons are named:
   those that cost the most points against the best bin, at most three. #}
{{ config(access='protected') }}

with loans as (
    select * from {{ ref('int_risk__loans_characterised') }}
),

models as (
    select * from {{ ref('scorecard_models') }}
    where valid_from <= {{ as_of_date() }} and (valid_to is null or valid_to >= {{ as_of_date() }})
),

bins as (
    select
        *,
        max(points) over (partition by model_id, characteristic) - points as points_lost
    from {{ ref('scorecard_bins') }}
),

binned as (
    select
        loans.*,
        models.model_id,
        models.model_role,
        models.is_calibrated,
        models.base_points
        + past_due.points + late.points + paid.points + booked.points + balance.points as score,
        past_due.points_lost as days_past_due_points_lost,
        past_due.reason as days_past_due_reason,
        past_due.characteristic_rank as days_past_due_rank,
        late.points_lost as times_late_points_lost,
        late.reason as times_late_reason,
        late.characteristic_rank as times_late_rank,
        paid.points_lost as paid_to_due_points_lost,
        paid.reason as paid_to_due_reason,
        paid.characteristic_rank as paid_to_due_rank,
        booked.points_lost as months_on_book_points_lost,
        booked.reason as months_on_book_reason,
        booked.characteristic_rank as months_on_book_rank,
        balance.points_lost as balance_points_lost,
        balance.reason as balance_reason,
        balance.characteristic_rank as balance_rank
    from loans
    cross join models
    left join bins as past_due
        on
            models.model_id = past_due.model_id
            and past_due.characteristic = 'days_past_due'
            and {{ is_in_bin('loans.days_past_due', 'past_due') }}
    left join bins as late
        on
            models.model_id = late.model_id
            and late.characteristic = 'times_late'
            and {{ is_in_bin('loans.times_late', 'late') }}
    left join bins as paid
        on
            models.model_id = paid.model_id
            and paid.characteristic = 'paid_to_due_ratio'
            and {{ is_in_bin('loans.paid_to_due_ratio', 'paid') }}
    left join bins as booked
        on
            models.model_id = booked.model_id
            and booked.characteristic = 'months_on_book'
            and {{ is_in_bin('loans.months_on_book', 'booked') }}
    left join bins as balance
        on
            models.model_id = balance.model_id
            and balance.characteristic = 'balance_ratio'
            and {{ is_in_bin('loans.balance_ratio', 'balance') }}
),

{# A few hundred scores stand for all loans: the power is taken once for each. #}
scores as (
    select distinct
        model_id,
        score
    from binned
),

probabilities as (
    select
        scores.model_id,
        scores.score,
        round(
            1 / (
                1 + models.anchor_odds * power(
                    cast(2 as numeric), (scores.score - models.anchor_score) / models.points_to_double_odds
                )
            ), 8
        ) as default_probability
    from scores
    inner join models on scores.model_id = models.model_id
),

final as (
    select
        binned.loan_id,
        binned.model_id,
        binned.model_role,
        binned.is_calibrated,
        binned.days_past_due,
        binned.times_late,
        binned.months_on_book,
        binned.paid_to_due_ratio,
        binned.balance_ratio,
        cast(binned.score as numeric(14, 8)) as score,
        cast(probabilities.default_probability as numeric(9, 8)) as default_probability,
        reasons.ranked[1] as reason_1,
        reasons.ranked[2] as reason_2,
        reasons.ranked[3] as reason_3
    from binned
    inner join probabilities
        on
            binned.model_id = probabilities.model_id
            and binned.score = probabilities.score
    cross join lateral (
        select
            array_agg(
                losses.reason
                order by losses.points_lost desc, losses.characteristic_rank asc
            ) filter (where losses.points_lost > 0) as ranked
        from (
            values
            (binned.days_past_due_points_lost, binned.days_past_due_rank, binned.days_past_due_reason),
            (binned.times_late_points_lost, binned.times_late_rank, binned.times_late_reason),
            (binned.paid_to_due_points_lost, binned.paid_to_due_rank, binned.paid_to_due_reason),
            (binned.months_on_book_points_lost, binned.months_on_book_rank, binned.months_on_book_reason),
            (binned.balance_points_lost, binned.balance_rank, binned.balance_reason)
        ) as losses (points_lost, characteristic_rank, reason)
    ) as reasons
)

select * from final
