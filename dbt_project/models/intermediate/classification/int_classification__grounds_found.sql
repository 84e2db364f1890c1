{# A ground is a rule of a book that holds for a loan on the days of a row; one ground may have several rows. Rules
   of level borrower hold for all of the borrower's loans, whichever of them gives the ground. #}
{{ config(pre_hook=hash_joins_only()) }}

with days as (
    select * from {{ ref('int_classification__days_counted') }}
),

loans as (
    select * from {{ ref('int_classification__loans_described') }}
),

segments as (
    select * from {{ ref('int_classification__book_segments') }}
),

thresholds as (
    select * from {{ ref('int_classification__book_day_thresholds') }}
),

tracked as (
    select * from {{ ref('int_classification__classes_tracked') }}
),

triggers as (
    select * from {{ ref('int_classification__book_triggers') }}
),

events as (
    select * from {{ ref('stg_servicing__credit_events') }}
),

measures as (
    select * from {{ ref('int_classification__measures') }}
),

obligations as (
    select * from {{ ref('int_classification__obligations_compared') }}
),

probabilities as (
    select * from {{ ref('int_classification__probabilities_risen') }}
),

{# Few kinds of loans: which thresholds bear on which is told once. #}
kinds as (
    select distinct
        exposure_class,
        product
    from loans
),

thresholds_by_kind as (
    select
        thresholds.*,
        kinds.exposure_class,
        kinds.product,
        thresholds.class_rank > 1 or thresholds.days_from > 1 or tracked.rule_book is not null as needs_all_days
    from thresholds
    cross join kinds
    left join tracked
        on
            thresholds.rule_book = tracked.rule_book
            and thresholds.class_rank = tracked.class_rank
    left join segments
        on
            thresholds.rule_book = segments.rule_book
            and kinds.exposure_class = segments.exposure_class
    where
        (
            thresholds.products is null
            or position('|' || kinds.product || '|' in '|' || thresholds.products || '|') > 0
        )
        and (thresholds.level = 'borrower' or segments.segment = coalesce(thresholds.segment, segments.segment))
),

{# Most late days are few: what comes to no threshold that asks for all days is put aside before any is tried. #}
days_long_enough as (
    select *
    from days
    where
        is_latest
        or coalesce(valid_to - counted_from, days_frozen) + 1 >= (
            select min(thresholds_by_kind.days_from) from thresholds_by_kind
            where thresholds_by_kind.needs_all_days
        )
),

reached as (
    select
        thresholds.rule_book,
        thresholds.level,
        thresholds.segment,
        thresholds.class_rank,
        thresholds.rule_number,
        days_long_enough.loan_id,
        days_long_enough.borrower_id,
        {{ reached_on('days_long_enough', 'thresholds.convention', 'thresholds.days_from') }} as valid_from,
        days_long_enough.valid_to
    from days_long_enough
    inner join thresholds_by_kind as thresholds
        on
            days_long_enough.exposure_class = thresholds.exposure_class
            and days_long_enough.product = thresholds.product
            and days_long_enough.counter = thresholds.counter
    where
        {{ is_reached('days_long_enough', 'thresholds.convention', 'thresholds.days_from') }}
        and {{ is_read_by('days_long_enough', 'thresholds.rule_book') }}
        and (days_long_enough.is_latest or thresholds.needs_all_days)
        and (
            thresholds.loan_to_value_over is null
            or days_long_enough.loan_to_value_ratio is null
            or days_long_enough.loan_to_value_ratio > thresholds.loan_to_value_over
        )
),

{# What speaks for a trigger, on a loan or (loan_id null) on all of a borrower's. #}
signs as (
    select
        triggers.rule_book,
        triggers.rule_number,
        events.borrower_id,
        events.loan_id,
        coalesce(events.discovered_on, events.occurred_on) + triggers.days_after as valid_from,
        events.ended_on - 1 as valid_to,
        cast(null as date) as counted_from,
        cast(null as date) as first_due_on,
        false as is_measure
    from events
    inner join triggers on events.kind = triggers.trigger
    where events.occurred_on <= {{ as_of_date() }}
    union all
    select
        triggers.rule_book,
        triggers.rule_number,
        loans.borrower_id,
        loans.loan_id,
        loans.status_on + triggers.days_after as valid_from,
        cast(null as date) as valid_to,
        cast(null as date) as counted_from,
        cast(null as date) as first_due_on,
        false as is_measure
    from loans
    inner join triggers on triggers.trigger = 'written_off'
    where loans.status = 'written_off'
    union all
    select
        triggers.rule_book,
        triggers.rule_number,
        loans.borrower_id,
        loans.loan_id,
        loans.disbursed_on + triggers.days_after as valid_from,
        cast(null as date) as valid_to,
        cast(null as date) as counted_from,
        cast(null as date) as first_due_on,
        false as is_measure
    from loans
    inner join triggers on triggers.trigger = 'credit_impaired_at_origination'
    where loans.is_credit_impaired_at_origination
    union all
    select
        probabilities.rule_book,
        probabilities.rule_number,
        loans.borrower_id,
        loans.loan_id,
        probabilities.valid_from,
        probabilities.valid_to,
        cast(null as date) as counted_from,
        cast(null as date) as first_due_on,
        false as is_measure
    from probabilities
    inner join loans on probabilities.loan_id = loans.loan_id
    union all
    select
        triggers.rule_book,
        triggers.rule_number,
        loans.borrower_id,
        loans.loan_id,
        measures.starts_on as valid_from,
        case when triggers.while_in_force then measures.in_force_to else measures.grace_to end as valid_to,
        measures.grace_to as counted_from,
        measures.first_due_on,
        true as is_measure
    from measures
    inner join loans on measures.loan_id = loans.loan_id
    inner join triggers on triggers.trigger = 'distressed_restructuring'
    left join obligations
        on
            measures.loan_id = obligations.loan_id
            and measures.starts_on = obligations.starts_on
    where
        triggers.diminished_over is null
        or obligations.diminished_share is null
        or obligations.diminished_share > triggers.diminished_over
),

final as (
    select
        rule_book,
        loan_id,
        class_rank,
        'days' as rule_kind,
        rule_number,
        valid_from,
        valid_to,
        cast(null as text) as source_loan_id,
        cast(null as date) as counted_from,
        cast(null as date) as first_due_on,
        false as is_measure
    from reached
    where level = 'facility'
    union all
    select
        reached.rule_book,
        loans.loan_id,
        reached.class_rank,
        'days' as rule_kind,
        reached.rule_number,
        reached.valid_from,
        reached.valid_to,
        case when reached.loan_id <> loans.loan_id then reached.loan_id end as source_loan_id,
        cast(null as date) as counted_from,
        cast(null as date) as first_due_on,
        false as is_measure
    from reached
    inner join loans on reached.borrower_id = loans.borrower_id
    inner join segments
        on
            reached.rule_book = segments.rule_book
            and loans.exposure_class = segments.exposure_class
    where
        reached.level = 'borrower'
        and (reached.segment is null or reached.segment = segments.segment)
    union all
    select
        triggers.rule_book,
        loans.loan_id,
        triggers.class_rank,
        'trigger' as rule_kind,
        triggers.rule_number,
        signs.valid_from,
        least(signs.valid_to, {{ as_of_date() }}) as valid_to,
        case when signs.loan_id <> loans.loan_id then signs.loan_id end as source_loan_id,
        signs.counted_from,
        signs.first_due_on,
        signs.is_measure
    from signs
    inner join triggers
        on
            signs.rule_book = triggers.rule_book
            and signs.rule_number = triggers.rule_number
    inner join loans
        on
            signs.borrower_id = loans.borrower_id
            and (signs.loan_id is null or triggers.level = 'borrower' or signs.loan_id = loans.loan_id)
    inner join segments
        on
            triggers.rule_book = segments.rule_book
            and loans.exposure_class = segments.exposure_class
    where
        signs.valid_from <= {{ as_of_date() }}
        and (signs.valid_to is null or signs.valid_to >= signs.valid_from)
        and (triggers.segment is null or triggers.segment = segments.segment)
)

select * from final
