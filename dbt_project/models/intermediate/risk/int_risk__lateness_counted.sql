{# Times late: instalments of the last twelve months that were not fully paid at the end of their due date. Whether
   one was follows from what had come due and been credited by then, day by day; all before the twelve months is one
   opening sum, so that only a year is sorted. Revolving: credit beyond what is due pays no later statement, hence
   the lowest net so far, which needs the whole past. A waiver counts as a credit here, a refund takes one back. #}
with loans as not materialized (
    select
        *,
        cast({{ as_of_date() }} - interval '12 months' as date) as year_starts_after
    from {{ ref('int_delinquency__loans_positioned') }}
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
        case
            when loans.is_revolving then claims.due_on else greatest(claims.due_on, loans.year_starts_after)
        end as event_on,
        case
            when claims.claim_kind = 'instalment' and claims.due_on > loans.year_starts_after then 1 else 0
        end as instalment_count,
        claims.claim_amount as due_amount,
        case when claims.claim_kind <> 'instalment' then claims.claim_amount else 0 end as due_after_instalments_amount,
        0 as credited_amount
    from claims
    inner join loans on claims.loan_id = loans.loan_id
    where claims.due_on < {{ as_of_date() }} and claims.lapses_on is null
    union all
    select
        bookings.loan_id,
        case
            when loans.is_revolving then bookings.effective_on
            else greatest(bookings.effective_on, loans.year_starts_after)
        end as event_on,
        0 as instalment_count,
        0 as due_amount,
        0 as due_after_instalments_amount,
        case when bookings.kind = 'refund' then -bookings.amount else bookings.amount end as credited_amount
    from bookings
    inner join loans on bookings.loan_id = loans.loan_id
    where
        bookings.is_replayed
        and bookings.effective_on < {{ as_of_date() }}
        and (bookings.is_credit or bookings.kind in ('waiver', 'refund'))
),

days as (
    select
        loan_id,
        event_on,
        sum(instalment_count) as instalment_count,
        sum(due_amount - credited_amount) as net_amount,
        sum(due_after_instalments_amount) as due_after_instalments_amount
    from events
    group by loan_id, event_on
),

running as (
    select
        loan_id,
        event_on,
        instalment_count,
        due_after_instalments_amount,
        sum(net_amount) over (partition by loan_id order by event_on) as net_amount
    from days
),

with_lowest as (
    select
        loan_id,
        event_on,
        instalment_count,
        due_after_instalments_amount,
        net_amount,
        least(min(net_amount) over (partition by loan_id order by event_on), 0) as lowest_net_amount
    from running
),

final as (
    select
        with_lowest.loan_id,
        cast(
            coalesce(
                sum(with_lowest.instalment_count) filter (
                    where
                    with_lowest.net_amount
                    - case when loans.is_revolving then with_lowest.lowest_net_amount else 0 end
                    - with_lowest.due_after_instalments_amount
                    > loans.tolerance_amount
                ), 0
            ) as integer
        ) as times_late
    from with_lowest
    inner join loans on with_lowest.loan_id = loans.loan_id
    group by with_lowest.loan_id
)

select * from final
