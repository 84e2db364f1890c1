{# Days of a pause count only from the oldest unpaid due date on: a pause that was over before the loan fell behind
   takes nothing off. Pauses that overlap count once. #}
with loans as (
    select * from {{ ref('int_delinquency__loans_positioned') }}
),

forbearances as (
    select * from {{ ref('stg_servicing__forbearances') }}
),

pauses as (
    select
        loans.loan_id,
        loans.oldest_unpaid_due_on,
        range_agg(daterange(forbearances.starts_on, forbearances.ends_on, '[)')) as paused_on
    from forbearances
    inner join loans on forbearances.loan_id = loans.loan_id
    where
        forbearances.kind = 'delinquency_pause'
        and (forbearances.ends_on is null or forbearances.ends_on > forbearances.starts_on)
    group by loans.loan_id, loans.oldest_unpaid_due_on
),

final as (
    select
        pauses.loan_id,
        pauses.paused_on @> {{ as_of_date() }} as is_paused,
        cast((
            select coalesce(sum(upper(stretch) - lower(stretch)), 0)
            from
                unnest(
                    pauses.paused_on * datemultirange(daterange(pauses.oldest_unpaid_due_on, {{ as_of_date() }}, '[)'))
                ) as stretches (stretch)
            where pauses.oldest_unpaid_due_on is not null
        ) as integer) as days_paused
    from pauses
)

select * from final
