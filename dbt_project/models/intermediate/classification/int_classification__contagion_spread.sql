{# Days on which so great a share of what a borrower (or a group of connected clients) owes is in a class, or that
   many days past due, that its other loans go with it. What is owed to others comes from the latest credit report
   by each day. Without an exposure's rate into the reporting currency its own currency stands in. #}
{{ config(pre_hook=hash_joins_only()) }}

with states as (
    select * from {{ ref('int_classification__states_held') }}
),

days as (
    select * from {{ ref('int_classification__days_counted') }}
),

history as (
    select * from {{ ref('loan_delinquency_history') }}
),

contagion as (
    select * from {{ ref('int_classification__book_contagion') }}
),

members as (
    select * from {{ ref('int_classification__contagion_members') }}
),

loans as (
    select * from {{ ref('int_classification__loans_described') }}
),

reports as (
    select * from {{ ref('stg_servicing__credit_reports') }}
),

rates as (
    select * from {{ ref('int_classification__currencies_converted') }}
),

days_long_enough as (
    select *
    from days
    where
        counter = 'days_past_due'
        and coalesce(valid_to - counted_from, days_frozen) >= (
            select min(contagion.counted_days_from) from contagion
        )
),

counted_days as (
    select
        contagion.rule_book,
        contagion.rule_number,
        states.loan_id,
        states.valid_from,
        least(states.held_to, {{ as_of_date() }}) as valid_to,
        least(states.held_to, {{ as_of_date() }}) as held_to,
        true as is_entry,
        false as is_open
    from states
    inner join contagion
        on
            states.rule_book = contagion.rule_book
            and states.class_rank = contagion.counted_class_rank
    union all
    select
        contagion.rule_book,
        contagion.rule_number,
        days_long_enough.loan_id,
        {{ reached_on('days_long_enough', "'calendar_excl'", 'contagion.counted_days_from') }} as valid_from,
        days_long_enough.valid_to,
        days_long_enough.valid_to as held_to,
        true as is_entry,
        false as is_open
    from days_long_enough
    inner join contagion
        on
            {{ is_reached('days_long_enough', "'calendar_excl'", 'contagion.counted_days_from') }}
            and {{ is_read_by('days_long_enough', 'contagion.rule_book') }}
),

counted_spells as (
    {{ spells_joined('counted_days', ['rule_book', 'rule_number', 'loan_id']) }}
),

counted as (
    select
        members.rule_book,
        members.rule_number,
        members.level,
        members.subject_id,
        members.loan_id,
        counted_spells.valid_from,
        counted_spells.held_to as valid_to
    from counted_spells
    inner join members
        on
            counted_spells.rule_book = members.rule_book
            and counted_spells.rule_number = members.rule_number
            and counted_spells.loan_id = members.loan_id
),

reports_known as (
    select distinct on (borrower_id, reported_on) *
    from reports
    where reported_on <= {{ as_of_date() }}
    order by borrower_id asc, reported_on asc, bureau asc
),

elsewhere as (
    select
        reports_known.borrower_id,
        reports_known.reported_on as valid_from,
        lead(reports_known.reported_on, 1, {{ as_of_date() }} + 1) over (
            partition by reports_known.borrower_id
            order by reports_known.reported_on
        ) - 1 as valid_to,
        reports_known.debt_elsewhere_amount * coalesce(rates.rate, 1) as debt_amount,
        reports_known.overdue_90_elsewhere_amount * coalesce(rates.rate, 1) as overdue_amount
    from reports_known
    left join rates on reports_known.currency = rates.currency
),

elsewhere_counted as (
    select distinct
        members.rule_book,
        members.rule_number,
        members.level,
        members.subject_id,
        elsewhere.valid_from,
        elsewhere.valid_to,
        coalesce(elsewhere.debt_amount, 0) as debt_amount,
        coalesce(elsewhere.overdue_amount, 0) as overdue_amount
    from elsewhere
    inner join members
        on
            elsewhere.borrower_id = members.subject_id
            and members.level = 'borrower'
    inner join contagion
        on
            members.rule_book = contagion.rule_book
            and members.rule_number = contagion.rule_number
    where contagion.with_elsewhere
),

causes_by_day as (
    select
        rule_book,
        rule_number,
        level,
        subject_id,
        valid_from
    from counted
    union all
    select
        rule_book,
        rule_number,
        level,
        subject_id,
        valid_from
    from elsewhere_counted
    where overdue_amount > 0
),

{# What was owed before the first cause does not matter. #}
subjects as (
    select
        rule_book,
        rule_number,
        level,
        subject_id,
        min(valid_from) as caused_from
    from causes_by_day
    group by rule_book, rule_number, level, subject_id
),

exposures as (
    select
        members.rule_book,
        members.rule_number,
        members.level,
        members.subject_id,
        members.loan_id,
        greatest(history.valid_from, subjects.caused_from) as valid_from,
        least(history.valid_to, {{ as_of_date() }}) as valid_to,
        coalesce(
            case when history.valid_to is null then loans.outstanding_amount end,
            history.outstanding_amount, loans.outstanding_amount, loans.principal_amount
        ) * coalesce(loans.conversion_rate, 1) as amount
    from subjects
    inner join members
        on
            subjects.rule_book = members.rule_book
            and subjects.rule_number = members.rule_number
            and subjects.level = members.level
            and subjects.subject_id = members.subject_id
    inner join loans on members.loan_id = loans.loan_id
    inner join history on loans.loan_id = history.loan_id
    where
        history.valid_from <= {{ as_of_date() }}
        and (history.valid_to is null or history.valid_to >= subjects.caused_from)
),

amounts as (
    select
        rule_book,
        rule_number,
        level,
        subject_id,
        valid_from,
        valid_to,
        amount as total_amount,
        cast(0 as numeric) as counted_amount
    from exposures
    union all
    select
        exposures.rule_book,
        exposures.rule_number,
        exposures.level,
        exposures.subject_id,
        greatest(counted.valid_from, exposures.valid_from) as valid_from,
        least(counted.valid_to, exposures.valid_to) as valid_to,
        cast(0 as numeric) as total_amount,
        exposures.amount as counted_amount
    from counted
    inner join exposures
        on
            counted.rule_book = exposures.rule_book
            and counted.rule_number = exposures.rule_number
            and counted.level = exposures.level
            and counted.subject_id = exposures.subject_id
            and counted.loan_id = exposures.loan_id
            and counted.valid_from <= exposures.valid_to
            and counted.valid_to >= exposures.valid_from
    union all
    select
        rule_book,
        rule_number,
        level,
        subject_id,
        valid_from,
        valid_to,
        debt_amount as total_amount,
        overdue_amount as counted_amount
    from elsewhere_counted
),

changes as (
    select
        rule_book,
        rule_number,
        level,
        subject_id,
        valid_from as changed_on,
        total_amount,
        counted_amount
    from amounts
    union all
    select
        rule_book,
        rule_number,
        level,
        subject_id,
        valid_to + 1 as changed_on,
        -total_amount as total_amount,
        -counted_amount as counted_amount
    from amounts
),

days_changed as (
    select
        rule_book,
        rule_number,
        level,
        subject_id,
        changed_on,
        sum(total_amount) as total_amount,
        sum(counted_amount) as counted_amount
    from changes
    group by rule_book, rule_number, level, subject_id, changed_on
),

sums as (
    select
        rule_book,
        rule_number,
        level,
        subject_id,
        changed_on as valid_from,
        lead(changed_on, 1, {{ as_of_date() }} + 1) over (subject_days) - 1 as valid_to,
        sum(total_amount) over (subject_days) as total_amount,
        sum(counted_amount) over (subject_days) as counted_amount
    from days_changed
    window subject_days as (partition by rule_book, rule_number, level, subject_id order by changed_on)
),

spread_days as (
    select
        sums.rule_book,
        sums.rule_number,
        sums.level,
        sums.subject_id,
        sums.valid_from,
        sums.valid_to,
        sums.valid_to as held_to,
        true as is_entry,
        false as is_open
    from sums
    inner join contagion
        on
            sums.rule_book = contagion.rule_book
            and sums.rule_number = contagion.rule_number
    where
        sums.valid_from <= {{ as_of_date() }}
        and sums.counted_amount > contagion.share_over * sums.total_amount
),

spread as (
    {{ spells_joined('spread_days', ['rule_book', 'rule_number', 'level', 'subject_id']) }}
),

{# The loan that is named to the reader: the first, by its key, of those that are the cause today. #}
causes as (
    select
        rule_book,
        rule_number,
        level,
        subject_id,
        min(loan_id) as source_loan_id
    from counted
    where valid_to = {{ as_of_date() }}
    group by rule_book, rule_number, level, subject_id
),

final as (
    select
        contagion.rule_book,
        members.loan_id,
        contagion.class_rank,
        contagion.rule_number,
        spread.valid_from,
        spread.held_to as valid_to,
        causes.source_loan_id
    from spread
    inner join contagion
        on
            spread.rule_book = contagion.rule_book
            and spread.rule_number = contagion.rule_number
    inner join members
        on
            spread.rule_book = members.rule_book
            and spread.rule_number = members.rule_number
            and spread.level = members.level
            and spread.subject_id = members.subject_id
    left join causes
        on
            spread.rule_book = causes.rule_book
            and spread.rule_number = causes.rule_number
            and spread.level = causes.level
            and spread.subject_id = causes.subject_id
    where members.is_reached
)

select * from final
