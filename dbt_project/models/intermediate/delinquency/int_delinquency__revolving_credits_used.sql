{# On a revolving loan a credit pays what is due by then; the rest reduces the balance and pays no later claim. What
   stays unpaid follows from the running sum N of claims less credits alone: N at D less the lowest N so far, 0
   included. #}
with loans as not materialized (
    select * from {{ ref('int_delinquency__loans_selected') }}
),

claims as (
    select * from {{ ref('int_delinquency__claims_raised') }}
),

bookings as (
    select * from {{ ref('int_delinquency__bookings_valid') }}
),

events as (
    select
        claims.loan_id,
        claims.due_on as event_on,
        1 as event_rank,
        claims.claim_amount as due_amount,
        0 as credited_amount
    from claims
    inner join loans on claims.loan_id = loans.loan_id
    where loans.is_revolving and claims.due_on <= {{ as_of_date() }} and claims.lapses_on is null
    union all
    select
        bookings.loan_id,
        bookings.effective_on as event_on,
        2 as event_rank,
        0 as due_amount,
        bookings.amount as credited_amount
    from bookings
    inner join loans on bookings.loan_id = loans.loan_id
    where loans.is_revolving and bookings.is_credit and bookings.is_replayed
),

events_of_a_day as (
    select
        loan_id,
        event_on,
        event_rank,
        sum(due_amount) as due_amount,
        sum(credited_amount) as credited_amount
    from events
    group by loan_id, event_on, event_rank
),

running as (
    select
        loan_id,
        due_amount,
        credited_amount,
        sum(due_amount - credited_amount) over (
            partition by loan_id order by event_on, event_rank
        ) as net_amount
    from events_of_a_day
),

final as (
    select
        loan_id,
        cast(sum(credited_amount) + least(min(net_amount), 0) as numeric(20, 4)) as used_amount
    from running
    group by loan_id
)

select * from final
