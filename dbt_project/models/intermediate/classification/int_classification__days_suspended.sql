{# Overlapping suspensions of a loan are one. #}
with events as (
    select * from {{ ref('stg_servicing__credit_events') }}
),

suspensions as (
    select * from {{ ref('int_classification__book_suspensions') }}
),

loans as (
    select * from {{ ref('int_classification__loans_described') }}
),

suspended as (
    select
        suspensions.rule_book,
        loans.loan_id,
        events.occurred_on as valid_from,
        least(
            {{ as_of_date() }},
            events.ended_on - 1,
            events.occurred_on + suspensions.longest_days - 1
        ) as valid_to
    from events
    inner join suspensions on events.kind = suspensions.event_kind
    inner join loans
        on
            events.borrower_id = loans.borrower_id
            and (events.loan_id is null or events.loan_id = loans.loan_id)
    where
        events.occurred_on <= {{ as_of_date() }}
        and coalesce(events.discovered_on, events.occurred_on) <= {{ as_of_date() }}
),

marked as (
    select
        *,
        valid_from > max(valid_to) over (
            partition by rule_book, loan_id
            order by valid_from, valid_to
            rows between unbounded preceding and 1 preceding
        ) + 1 as is_new
    from suspended
    where valid_to >= valid_from
),

numbered as (
    select
        *,
        count(*) filter (where is_new) over (
            partition by rule_book, loan_id
            order by valid_from, valid_to
            rows unbounded preceding
        ) as spell_number
    from marked
),

final as (
    select
        rule_book,
        loan_id,
        min(valid_from) as valid_from,
        max(valid_to) as valid_to
    from numbered
    group by rule_book, loan_id, spell_number
)

select * from final
