{# A borrower's late days of all loans that follow one another, with a day between at most (a claim may be unpaid
   at the end of its due date), are one run. Where any late day will do, a rule need only read the latest run, and
   the loan's own last stretch: is_latest. Of loans on which other rules bear than those on days every stretch is
   read, for what began with a late day may go on by another ground. #}
{{ config(pre_hook=hash_joins_only()) }}

with history as (
    select * from {{ ref('loan_delinquency_history') }}
),

loans as (
    select * from {{ ref('int_classification__loans_described') }}
),

classes as (
    select * from {{ ref('int_classification__book_classes') }}
),

tracked as (
    select * from {{ ref('int_classification__classes_tracked') }}
),

triggers as (
    select * from {{ ref('int_classification__book_triggers') }}
),

contagion as (
    select * from {{ ref('int_classification__book_contagion') }}
),

thresholds as (
    select * from {{ ref('int_classification__book_day_thresholds') }}
),

measures as (
    select * from {{ ref('int_classification__measures') }}
),

events as (
    select * from {{ ref('stg_servicing__credit_events') }}
),

probabilities as (
    select * from {{ ref('int_classification__probabilities_risen') }}
),

contagion_members as (
    select * from {{ ref('int_classification__contagion_members') }}
),

{# Books in which the first class is left as soon as its grounds are gone, and the other rules that lead to it. #}
loose_books as (
    select classes.rule_book
    from classes
    left join tracked
        on
            classes.rule_book = tracked.rule_book
            and classes.class_rank = tracked.class_rank
    where
        classes.class_rank = 1
        and tracked.rule_book is null
),

other_signs as (
    select distinct triggers.trigger
    from triggers
    inner join loose_books on triggers.rule_book = loose_books.rule_book
    where triggers.class_rank = 1
),

borne_on as (
    select loans.borrower_id
    from loans
    inner join contagion_members on loans.loan_id = contagion_members.loan_id
    inner join contagion
        on
            contagion_members.rule_book = contagion.rule_book
            and contagion_members.rule_number = contagion.rule_number
    inner join loose_books on contagion.rule_book = loose_books.rule_book
    where
        contagion.class_rank = 1
        and contagion_members.is_reached
    union
    select events.borrower_id
    from events
    inner join other_signs on events.kind = other_signs.trigger
    union
    select loans.borrower_id
    from loans
    inner join measures on loans.loan_id = measures.loan_id
    inner join other_signs on other_signs.trigger = 'distressed_restructuring'
    union
    select loans.borrower_id
    from loans
    inner join other_signs
        on
            (other_signs.trigger = 'written_off' and loans.status = 'written_off')
            or (
                other_signs.trigger = 'credit_impaired_at_origination' and loans.is_credit_impaired_at_origination
            )
    union
    select loans.borrower_id
    from loans
    inner join probabilities on loans.loan_id = probabilities.loan_id
    inner join loose_books on probabilities.rule_book = loose_books.rule_book
),

stretches as (
    select
        history.loan_id,
        history.valid_from,
        least(history.valid_to, {{ as_of_date() }}) as valid_to,
        history.oldest_unpaid_due_on,
        history.oldest_unpaid_due_on is not null
        and least(history.valid_to, {{ as_of_date() }}) - history.oldest_unpaid_due_on > 31 as is_long
    from history
    where
        history.arrears_amount > 0
        and history.valid_from <= {{ as_of_date() }}
),

{# Arrears that grow from month to month while the oldest claim stays unpaid are one row, where no day is missing. #}
long_stretches as (
    select
        loan_id,
        oldest_unpaid_due_on,
        min(valid_from) as valid_from,
        max(valid_to) as valid_to,
        sum(valid_to - valid_from + 1) = max(valid_to) - min(valid_from) + 1 as is_whole
    from stretches
    where is_long
    group by loan_id, oldest_unpaid_due_on
),

stretches_joined as (
    select
        loan_id,
        valid_from,
        valid_to,
        oldest_unpaid_due_on
    from stretches
    where not is_long
    union all
    select
        loan_id,
        valid_from,
        valid_to,
        oldest_unpaid_due_on
    from long_stretches
    where is_whole
    union all
    select
        stretches.loan_id,
        stretches.valid_from,
        stretches.valid_to,
        stretches.oldest_unpaid_due_on
    from stretches
    inner join long_stretches
        on
            stretches.loan_id = long_stretches.loan_id
            and stretches.oldest_unpaid_due_on = long_stretches.oldest_unpaid_due_on
    where
        stretches.is_long
        and not long_stretches.is_whole
),

late as (
    select
        stretches_joined.*,
        loans.borrower_id,
        loans.exposure_class,
        loans.product,
        loans.loan_to_value_ratio
    from stretches_joined
    inner join loans on stretches_joined.loan_id = loans.loan_id
),

last_days as (
    select
        loan_id,
        max(valid_to) as last_late_on
    from late
    where oldest_unpaid_due_on is not null
    group by loan_id
),

{# Runs are told where they matter: of who is late now, and of who was late long enough for a count of material
   days. #}
borrowers as (
    select
        borrower_id,
        max(valid_to) >= {{ as_of_date() }} - 1
        or coalesce(sum(valid_to - valid_from + 1) >= (
            select min(thresholds.days_from) from thresholds
            where thresholds.counter = 'days_material'
        ), false) as has_runs
    from late
    group by borrower_id
),

marked as (
    select
        late.*,
        coalesce(
            late.valid_from > 2 + max(late.valid_to) over (
                partition by late.borrower_id
                order by late.valid_from, late.loan_id
                rows between unbounded preceding and 1 preceding
            ), true
        ) as is_apart
    from late
    inner join borrowers on late.borrower_id = borrowers.borrower_id
    where borrowers.has_runs
),

numbered as (
    select
        *,
        count(*) filter (where is_apart) over (
            partition by borrower_id
            order by valid_from, loan_id
            rows unbounded preceding
        ) as run_number
    from marked
),

measured as (
    select
        loan_id,
        borrower_id,
        exposure_class,
        product,
        loan_to_value_ratio,
        valid_from,
        valid_to,
        oldest_unpaid_due_on,
        max(valid_to) over (partition by borrower_id, run_number)
        - min(valid_from) over (partition by borrower_id, run_number) + 1 as run_days,
        run_number = max(run_number) over (partition by borrower_id) as is_latest_run
    from numbered
    union all
    select
        late.loan_id,
        late.borrower_id,
        late.exposure_class,
        late.product,
        late.loan_to_value_ratio,
        late.valid_from,
        late.valid_to,
        late.oldest_unpaid_due_on,
        cast(null as integer) as run_days,
        false as is_latest_run
    from late
    inner join borrowers on late.borrower_id = borrowers.borrower_id
    where not borrowers.has_runs
),

final as (
    select
        measured.loan_id,
        measured.borrower_id,
        measured.exposure_class,
        measured.product,
        measured.loan_to_value_ratio,
        measured.valid_from,
        measured.valid_to,
        measured.oldest_unpaid_due_on,
        measured.run_days,
        measured.is_latest_run
        or coalesce(measured.valid_to = last_days.last_late_on, false)
        or borne_on.borrower_id is not null as is_latest
    from measured
    left join last_days on measured.loan_id = last_days.loan_id
    left join borne_on on measured.borrower_id = borne_on.borrower_id
)

select * from final
