{# Times late: instalments of the last twelve months that were not fully paid at the end of their due date, read off the
   stacked claims and credits of the version in force. A loan that is replayed was late where anything due was unpaid. #}
with loans as not materialized (
    select
        *,
        cast({{ as_of_date() }} - interval '12 months' as date) as year_starts_after
    from {{ ref('int_delinquency__loans_positioned') }}
),

stacked as (
    select * from {{ ref('int_delinquency__loans_stacked') }}
),

replayed as (
    select * from {{ ref('int_delinquency__days_replayed') }}
),

in_force as (
    select
        loans.loan_id,
        loans.tolerance_amount,
        loans.year_starts_after,
        stacked.epoch_from,
        stacked.is_replayed,
        stacked.due_ons,
        stacked.due_amounts,
        stacked.instalment_counts,
        stacked.credited_ons,
        stacked.used_amounts
    from loans
    inner join stacked
        on
            loans.loan_id = stacked.loan_id
            and {{ as_of_date() }} >= stacked.epoch_from
            and {{ as_of_date() }} < stacked.epoch_until
),

from_sums as (
    select
        in_force.loan_id,
        count(*) as times_late
    from in_force
    cross join
        lateral unnest(in_force.due_ons, in_force.due_amounts, in_force.instalment_counts)
        with ordinality as claims (due_on, due_amount, instalment_count, position)
    where
        not in_force.is_replayed
        and claims.due_on > in_force.year_starts_after
        and claims.due_on < {{ as_of_date() }}
        and claims.instalment_count > coalesce(in_force.instalment_counts[claims.position - 1], 0)
        and claims.due_amount
        - coalesce(in_force.used_amounts[width_bucket(claims.due_on, in_force.credited_ons)], 0)
        > in_force.tolerance_amount
    group by in_force.loan_id
),

from_replay as (
    select
        in_force.loan_id,
        count(*) as times_late
    from in_force
    cross join
        lateral unnest(in_force.due_ons, in_force.instalment_counts)
        with ordinality as claims (due_on, instalment_count, position)
    inner join replayed
        on
            in_force.loan_id = replayed.loan_id
            and in_force.epoch_from = replayed.epoch_from
            and greatest(claims.due_on, in_force.epoch_from) >= replayed.state_on
            and greatest(claims.due_on, in_force.epoch_from) < replayed.state_until
    where
        in_force.is_replayed
        and claims.due_on > in_force.year_starts_after
        and claims.due_on < {{ as_of_date() }}
        and claims.instalment_count > coalesce(in_force.instalment_counts[claims.position - 1], 0)
        and replayed.unpaid_principal_amount + replayed.unpaid_other_amount > in_force.tolerance_amount
    group by in_force.loan_id
),

counted as (
    select * from from_sums
    union all
    select * from from_replay
),

final as (
    select
        loans.loan_id,
        cast(coalesce(counted.times_late, 0) as integer) as times_late
    from loans
    left join counted on loans.loan_id = counted.loan_id
)

select * from final
