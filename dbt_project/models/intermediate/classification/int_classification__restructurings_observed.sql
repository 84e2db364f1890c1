{# A restructured loan is observed where the measure itself puts it into the class that is observed. The
   observation ends a number of months after the measure, its grace or its first payment date; what bears on the
   class in it prolongs it. #}
{{ config(pre_hook=hash_joins_only()) }}

with grounds as (
    select * from {{ ref('int_classification__grounds_found') }}
),

days as (
    select * from {{ ref('int_classification__days_counted') }}
),

cures as (
    select * from {{ ref('int_classification__book_cures') }}
),

periods as (
    select * from {{ ref('int_classification__repayment_periods') }}
),

history as (
    select * from {{ ref('loan_delinquency_history') }}
),

observed as (
    select distinct
        grounds.rule_book,
        grounds.loan_id,
        cures.class_rank,
        cures.convention,
        cures.restructured_from,
        cures.restart_from_days,
        cures.restructured_wait_from_days,
        greatest(cures.restructured_months, cures.restructured_periods * periods.period_months) as months
    from grounds
    inner join cures
        on
            grounds.rule_book = cures.rule_book
            and grounds.class_rank >= cures.class_rank
    left join periods on grounds.loan_id = periods.loan_id
    where
        grounds.is_measure
        and cures.restructured_from is not null
),

measures as (
    select
        observed.rule_book,
        observed.loan_id,
        observed.class_rank,
        observed.months,
        grounds.valid_from,
        coalesce(grounds.valid_to, {{ as_of_date() }}) as valid_to,
        case
            when observed.restructured_from = 'first_due' then coalesce(grounds.first_due_on, grounds.counted_from)
            else grounds.counted_from
        end as observed_from
    from observed
    inner join grounds
        on
            observed.rule_book = grounds.rule_book
            and observed.loan_id = grounds.loan_id
            and observed.class_rank <= grounds.class_rank
    where grounds.is_measure
),

entries as (
    select
        rule_book,
        loan_id,
        class_rank,
        valid_from,
        valid_to,
        greatest(valid_to, {{ months_after('observed_from', 'months') }} - 1) as held_to
    from measures
),

{# Other grounds for the class, stretch by stretch, joined: it is entered once, however often the arrears changed. #}
other_grounds as (
    select
        observed.rule_book,
        observed.loan_id,
        observed.class_rank,
        observed.restructured_from,
        observed.months,
        grounds.valid_from,
        coalesce(grounds.valid_to, {{ as_of_date() }}) as valid_to,
        coalesce(grounds.valid_to, {{ as_of_date() }}) as held_to,
        true as is_entry,
        false as is_open
    from observed
    inner join grounds
        on
            observed.rule_book = grounds.rule_book
            and observed.loan_id = grounds.loan_id
            and observed.class_rank <= grounds.class_rank
    where not grounds.is_measure
),

other_spells as (
    {{ spells_joined('other_grounds', ['rule_book', 'loan_id', 'class_rank', 'restructured_from', 'months']) }}
),

concerned as (
    select distinct loan_id from observed
),

{# A payment is missed on its due date, the day before arrears grow by it. #}
arrears_changed as (
    select
        history.loan_id,
        history.valid_from,
        history.oldest_unpaid_due_on,
        history.arrears_amount,
        lag(history.arrears_amount, 1, 0) over (
            partition by history.loan_id
            order by history.valid_from
        ) as previous_amount
    from history
    inner join concerned on history.loan_id = concerned.loan_id
    where history.valid_from <= {{ as_of_date() }}
),

missed as (
    select
        loan_id,
        valid_from - 1 as missed_on
    from arrears_changed
    where
        oldest_unpaid_due_on is not null
        and arrears_amount > previous_amount
),

prolonged as (
    select
        rule_book,
        loan_id,
        class_rank,
        valid_from,
        held_to as valid_to,
        case restructured_from
            when 'start' then greatest(held_to, {{ months_after('valid_from', 'months') }} - 1)
            when 'last_day' then {{ months_after('held_to + 1', 'months') }} - 1
            else held_to
        end as held_to,
        held_to = {{ as_of_date() }} as is_open
    from other_spells
    union all
    select
        observed.rule_book,
        observed.loan_id,
        observed.class_rank,
        missed.missed_on as valid_from,
        missed.missed_on as valid_to,
        {{ months_after('missed.missed_on', 'observed.months') }} - 1 as held_to,
        false as is_open
    from observed
    inner join missed on observed.loan_id = missed.loan_id
    where observed.restructured_from = 'first_due'
    union all
    select
        observed.rule_book,
        observed.loan_id,
        observed.class_rank,
        {{ reached_on('days', 'observed.convention', 'observed.restart_from_days') }} as valid_from,
        days.valid_to,
        {{ months_after('days.valid_to + 1', 'observed.months') }} - 1 as held_to,
        days.valid_to = {{ as_of_date() }} as is_open
    from observed
    inner join days on observed.loan_id = days.loan_id
    where
        observed.restructured_from <> 'first_due'
        and days.counter = 'days_past_due'
        and {{ is_read_by('days', 'observed.rule_book') }}
        and {{ is_reached('days', 'observed.convention', 'observed.restart_from_days') }}
    union all
    select
        observed.rule_book,
        observed.loan_id,
        observed.class_rank,
        {{ reached_on('days', 'observed.convention', 'observed.restructured_wait_from_days') }} as valid_from,
        days.valid_to,
        days.valid_to as held_to,
        days.valid_to = {{ as_of_date() }} as is_open
    from observed
    inner join days on observed.loan_id = days.loan_id
    where
        days.counter = 'days_past_due'
        and {{ is_read_by('days', 'observed.rule_book') }}
        and {{ is_reached('days', 'observed.convention', 'observed.restructured_wait_from_days') }}
),

spells as (
    select
        *,
        valid_to = {{ as_of_date() }} as is_open,
        true as is_entry
    from entries
    union all
    select
        *,
        false as is_entry
    from prolonged
),

joined as (
    {{ spells_joined('spells', ['rule_book', 'loan_id', 'class_rank']) }}
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
    from joined
)

select * from final
