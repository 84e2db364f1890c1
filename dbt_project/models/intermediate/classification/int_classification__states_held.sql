{# How long a loan is held in a class or worse once a ground has put it there: until nothing has spoken for the
   class for as many months as the book asks. One row per loan, class and spell. A loan that was restructured while
   it was held is held for the longer time. #}
{{ config(pre_hook=hash_joins_only()) }}

with grounds as (
    select * from {{ ref('int_classification__grounds') }}
),

days as (
    select * from {{ ref('int_classification__days_counted') }}
),

cures as (
    select * from {{ ref('int_classification__book_cures') }}
),

tracked as (
    select * from {{ ref('int_classification__classes_tracked') }}
),

thresholds as (
    select * from {{ ref('int_classification__book_day_thresholds') }}
),

periods as (
    select * from {{ ref('int_classification__repayment_periods') }}
),

loans as (
    select * from {{ ref('int_classification__loans_described') }}
),

observed as (
    select * from {{ ref('int_classification__restructurings_observed') }}
),

tracked_cures as (
    select
        tracked.rule_book,
        tracked.class_rank,
        coalesce(cures.level, 'facility') as watched_level,
        cures.convention,
        coalesce(cures.months, 0) as months,
        cures.periods,
        cures.restart_from_days,
        cures.wait_from_days,
        coalesce(cures.waits_for_borrower, false) as waits_for_borrower,
        cures.restructured_months,
        cures.restructured_periods,
        cures.restructured_from,
        cures.restructured_wait_from_days
    from tracked
    left join cures
        on
            tracked.rule_book = cures.rule_book
            and tracked.class_rank = cures.class_rank
),

entered as (
    select
        grounds.loan_id,
        tracked_cures.*,
        greatest(tracked_cures.months, tracked_cures.periods * periods.period_months) as held_months,
        greatest(
            tracked_cures.restructured_months, tracked_cures.restructured_periods * periods.period_months
        ) as restructured_held_months,
        grounds.valid_from,
        grounds.valid_to
    from grounds
    inner join tracked_cures
        on
            grounds.rule_book = tracked_cures.rule_book
            and grounds.class_rank >= tracked_cures.class_rank
    left join periods on grounds.loan_id = periods.loan_id
),

held as (
    select distinct
        entered.rule_book,
        entered.loan_id,
        loans.borrower_id,
        entered.class_rank,
        entered.watched_level,
        entered.convention,
        entered.held_months,
        entered.restart_from_days,
        entered.wait_from_days,
        entered.waits_for_borrower,
        entered.restructured_from,
        entered.restructured_held_months,
        entered.restructured_wait_from_days
    from entered
    inner join loans on entered.loan_id = loans.loan_id
),

counters as (
    select
        rule_book,
        counter
    from thresholds
    where counter <> 'days_material'
    union
    select
        rule_book,
        'days_past_due' as counter
    from cures
),

{# Whose days count against the loan, by which counters: its own, or those of all the borrower's. #}
watched as (
    select
        held.*,
        counters.counter,
        held.loan_id as watched_loan_id
    from held
    inner join counters on held.rule_book = counters.rule_book
    where held.watched_level = 'facility'
    union all
    select
        held.*,
        counters.counter,
        loans.loan_id as watched_loan_id
    from held
    inner join counters on held.rule_book = counters.rule_book
    inner join loans on held.borrower_id = loans.borrower_id
    where held.watched_level = 'borrower'
),

bad_days as (
    select
        watched.rule_book,
        watched.loan_id,
        watched.class_rank,
        watched.held_months,
        watched.restructured_from,
        watched.restructured_held_months,
        {{ reached_on('days', 'watched.convention', 'watched.restart_from_days') }} as valid_from,
        days.valid_to
    from watched
    inner join days
        on
            watched.watched_loan_id = days.loan_id
            and watched.counter = days.counter
    where
        {{ is_read_by('days', 'watched.rule_book') }}
        and {{ is_reached('days', 'watched.convention', 'watched.restart_from_days') }}
),

unpaid_days as (
    select
        watched.rule_book,
        watched.loan_id,
        watched.class_rank,
        {{ reached_on('days', 'watched.convention', 'watched.wait_from_days') }} as valid_from,
        days.valid_to
    from watched
    inner join days
        on
            watched.watched_loan_id = days.loan_id
            and watched.counter = days.counter
    where
        {{ is_read_by('days', 'watched.rule_book') }}
        and {{ is_reached('days', 'watched.convention', 'watched.wait_from_days') }}
    union all
    select
        held.rule_book,
        held.loan_id,
        held.class_rank,
        grounds.valid_from,
        grounds.valid_to
    from held
    inner join loans as siblings
        on
            held.borrower_id = siblings.borrower_id
            and held.loan_id <> siblings.loan_id
    inner join grounds
        on
            held.rule_book = grounds.rule_book
            and siblings.loan_id = grounds.loan_id
            and held.class_rank <= grounds.class_rank
    where held.waits_for_borrower
),

ordinary_spells as (
    select
        rule_book,
        loan_id,
        class_rank,
        valid_from,
        valid_to,
        {{ months_after('valid_to + 1', 'held_months') }} - 1 as held_to,
        valid_to = {{ as_of_date() }} as is_open,
        true as is_entry
    from entered
    union all
    select
        rule_book,
        loan_id,
        class_rank,
        valid_from,
        valid_to,
        {{ months_after('valid_to + 1', 'held_months') }} - 1 as held_to,
        valid_to = {{ as_of_date() }} as is_open,
        false as is_entry
    from bad_days
    union all
    select
        rule_book,
        loan_id,
        class_rank,
        valid_from,
        valid_to,
        valid_to as held_to,
        valid_to = {{ as_of_date() }} as is_open,
        false as is_entry
    from unpaid_days
),

ordinary as (
    {{ spells_joined('ordinary_spells', ['rule_book', 'loan_id', 'class_rank']) }}
),

{# Measures that did not put the loan into the class themselves; those that did are observed already. #}
measures as (
    select
        held.rule_book,
        held.loan_id,
        held.class_rank,
        held.convention,
        held.restructured_from,
        held.restructured_held_months,
        held.restructured_wait_from_days,
        grounds.valid_from,
        grounds.valid_to,
        greatest(
            grounds.valid_to, {{ months_after('grounds.counted_from', 'held.restructured_held_months') }} - 1
        ) as held_to
    from held
    inner join grounds
        on
            held.rule_book = grounds.rule_book
            and held.loan_id = grounds.loan_id
    where
        grounds.is_measure
        and grounds.class_rank < held.class_rank
        and held.restructured_from is not null
),

restructured as (
    select distinct
        measures.rule_book,
        measures.loan_id,
        measures.class_rank,
        measures.convention,
        measures.restructured_from,
        measures.restructured_held_months,
        measures.restructured_wait_from_days
    from measures
),

restructured_while_held as (
    select distinct
        ordinary.rule_book,
        ordinary.loan_id,
        ordinary.class_rank,
        ordinary.valid_from
    from ordinary
    inner join measures
        on
            ordinary.rule_book = measures.rule_book
            and ordinary.loan_id = measures.loan_id
            and ordinary.class_rank = measures.class_rank
            and ordinary.held_to >= measures.valid_from
            and ordinary.valid_from <= measures.held_to
),

restructured_spells as (
    select
        ordinary.rule_book,
        ordinary.loan_id,
        ordinary.class_rank,
        ordinary.valid_from,
        ordinary.last_ground_on as valid_to,
        case restructured.restructured_from
            when 'start'
                then
                    greatest(
                        ordinary.last_ground_on,
                        {{ months_after('ordinary.valid_from', 'restructured.restructured_held_months') }} - 1
                    )
            else
                {{ months_after('ordinary.last_ground_on + 1', 'restructured.restructured_held_months') }} - 1
        end as held_to,
        ordinary.last_ground_on = {{ as_of_date() }} as is_open,
        restructured_while_held.loan_id is not null as is_entry
    from ordinary
    inner join restructured
        on
            ordinary.rule_book = restructured.rule_book
            and ordinary.loan_id = restructured.loan_id
            and ordinary.class_rank = restructured.class_rank
    left join restructured_while_held
        on
            ordinary.rule_book = restructured_while_held.rule_book
            and ordinary.loan_id = restructured_while_held.loan_id
            and ordinary.class_rank = restructured_while_held.class_rank
            and ordinary.valid_from = restructured_while_held.valid_from
    union all
    select
        rule_book,
        loan_id,
        class_rank,
        valid_from,
        valid_to,
        held_to,
        false as is_open,
        false as is_entry
    from measures
    union all
    select
        bad_days.rule_book,
        bad_days.loan_id,
        bad_days.class_rank,
        bad_days.valid_from,
        bad_days.valid_to,
        {{ months_after('bad_days.valid_to + 1', 'bad_days.restructured_held_months') }} - 1 as held_to,
        bad_days.valid_to = {{ as_of_date() }} as is_open,
        false as is_entry
    from bad_days
    inner join restructured
        on
            bad_days.rule_book = restructured.rule_book
            and bad_days.loan_id = restructured.loan_id
            and bad_days.class_rank = restructured.class_rank
    union all
    select
        restructured.rule_book,
        restructured.loan_id,
        restructured.class_rank,
        {{ reached_on('days', 'restructured.convention', 'restructured.restructured_wait_from_days') }} as valid_from,
        days.valid_to,
        days.valid_to as held_to,
        days.valid_to = {{ as_of_date() }} as is_open,
        false as is_entry
    from restructured
    inner join days on restructured.loan_id = days.loan_id
    where
        days.counter = 'days_past_due'
        and {{ is_read_by('days', 'restructured.rule_book') }}
        and {{ is_reached('days', 'restructured.convention', 'restructured.restructured_wait_from_days') }}
),

restructured_held as (
    {{ spells_joined('restructured_spells', ['rule_book', 'loan_id', 'class_rank']) }}
),

final as (
    select
        rule_book,
        loan_id,
        class_rank,
        valid_from,
        held_to,
        last_ground_on,
        is_open
    from ordinary
    union all
    select
        rule_book,
        loan_id,
        class_rank,
        valid_from,
        held_to,
        last_ground_on,
        is_open
    from restructured_held
    union all
    select
        rule_book,
        loan_id,
        class_rank,
        valid_from,
        held_to,
        last_ground_on,
        is_open
    from observed
)

select * from final
