{# Consecutive days on which a past-due amount is material: above the absolute and the relative threshold at once,
   of the loan or of all the borrower's loans in the segment. Day one is the day on which both are first exceeded,
   so days on a day x are x - counted_from. Loans that a book suspends add nothing to what is past due; where a sum
   is material only with them, the count stands still. Without a rate the relative threshold alone decides. #}
{{ config(pre_hook=hash_joins_only()) }}

with late as (
    select * from {{ ref('int_classification__days_late') }}
),

history as (
    select * from {{ ref('loan_delinquency_history') }}
),

loans as (
    select * from {{ ref('int_classification__loans_described') }}
),

segments as (
    select * from {{ ref('int_classification__book_segments') }}
),

materiality as (
    select * from {{ ref('int_classification__book_materiality') }}
),

thresholds as (
    select * from {{ ref('int_classification__book_day_thresholds') }}
),

rates as (
    select * from {{ ref('int_classification__currencies_converted') }}
),

suspended as (
    select * from {{ ref('int_classification__days_suspended') }}
),

books_suspended as (
    select distinct
        rule_book,
        loan_id
    from suspended
),

lowest as (
    select
        rule_book,
        min(days_from) as days_from
    from thresholds
    where counter = 'days_material'
    group by rule_book
),

limits as (
    select
        materiality.rule_book,
        materiality.segment,
        materiality.level,
        materiality.relative_share,
        materiality.absolute_amount * rates.rate as absolute_amount,
        segments.exposure_class
    from materiality
    inner join segments
        on
            materiality.rule_book = segments.rule_book
            and materiality.segment = segments.segment
    left join rates on materiality.currency = rates.currency
),

{# Only a run of late days as long as the threshold can come to it. #}
candidates as (
    select distinct
        limits.rule_book,
        late.borrower_id
    from late
    inner join limits on late.exposure_class = limits.exposure_class
    inner join lowest on limits.rule_book = lowest.rule_book
    where late.run_days >= lowest.days_from
),

stretches as (
    select
        limits.rule_book,
        limits.segment,
        limits.level,
        limits.relative_share,
        limits.absolute_amount,
        loans.loan_id,
        loans.borrower_id,
        history.valid_from,
        least(history.valid_to, {{ as_of_date() }}) as valid_to,
        history.arrears_amount * coalesce(loans.conversion_rate, 1) as arrears_amount,
        coalesce(
            case when history.valid_to is null then loans.outstanding_amount end,
            history.outstanding_amount, loans.outstanding_amount, loans.principal_amount
        ) * coalesce(loans.conversion_rate, 1) as exposure_amount,
        case when limits.absolute_amount is null or loans.conversion_rate is null then 1 else 0 end as has_no_rate
    from candidates
    inner join loans on candidates.borrower_id = loans.borrower_id
    inner join limits
        on
            candidates.rule_book = limits.rule_book
            and loans.exposure_class = limits.exposure_class
    inner join history on loans.loan_id = history.loan_id
    where history.valid_from <= {{ as_of_date() }}
),

facility_stretches as (
    select
        stretches.*,
        books_suspended.loan_id is not null as is_suspended
    from stretches
    left join books_suspended
        on
            stretches.rule_book = books_suspended.rule_book
            and stretches.loan_id = books_suspended.loan_id
    where
        stretches.level = 'facility'
        and stretches.arrears_amount > stretches.relative_share * stretches.exposure_amount
        and (stretches.has_no_rate = 1 or stretches.arrears_amount > stretches.absolute_amount)
),

{# Where a suspension begins or ends within a stretch, the stretch is cut. #}
cuts as (
    select
        rule_book,
        loan_id,
        valid_from as cut_on
    from suspended
    union
    select
        rule_book,
        loan_id,
        valid_to + 1 as cut_on
    from suspended
),

facility_points as (
    select
        rule_book,
        loan_id,
        valid_from,
        valid_to,
        valid_from as cut_on
    from facility_stretches
    where is_suspended
    union
    select
        facility_stretches.rule_book,
        facility_stretches.loan_id,
        facility_stretches.valid_from,
        facility_stretches.valid_to,
        cuts.cut_on
    from facility_stretches
    inner join cuts
        on
            facility_stretches.rule_book = cuts.rule_book
            and facility_stretches.loan_id = cuts.loan_id
            and facility_stretches.valid_from < cuts.cut_on
            and facility_stretches.valid_to >= cuts.cut_on
),

facility_pieces as (
    select
        rule_book,
        loan_id,
        cut_on as valid_from,
        lead(cut_on, 1, valid_to + 1) over (partition by rule_book, loan_id, valid_from order by cut_on) - 1 as valid_to
    from facility_points
),

borrower_stretches as (
    select *
    from stretches
    where level = 'borrower'
),

suspended_stretches as (
    select
        stretches.rule_book,
        stretches.segment,
        stretches.borrower_id,
        stretches.arrears_amount,
        greatest(stretches.valid_from, suspended.valid_from) as valid_from,
        least(stretches.valid_to, suspended.valid_to) as valid_to
    from borrower_stretches as stretches
    inner join suspended
        on
            stretches.rule_book = suspended.rule_book
            and stretches.loan_id = suspended.loan_id
            and stretches.valid_from <= suspended.valid_to
            and stretches.valid_to >= suspended.valid_from
),

changes as (
    select
        rule_book,
        segment,
        borrower_id,
        valid_from as changed_on,
        arrears_amount,
        exposure_amount,
        0 as suspended_amount,
        has_no_rate
    from borrower_stretches
    union all
    select
        rule_book,
        segment,
        borrower_id,
        valid_to + 1 as changed_on,
        -arrears_amount as arrears_amount,
        -exposure_amount as exposure_amount,
        0 as suspended_amount,
        -has_no_rate as has_no_rate
    from borrower_stretches
    union all
    select
        rule_book,
        segment,
        borrower_id,
        valid_from as changed_on,
        0 as arrears_amount,
        0 as exposure_amount,
        arrears_amount as suspended_amount,
        0 as has_no_rate
    from suspended_stretches
    union all
    select
        rule_book,
        segment,
        borrower_id,
        valid_to + 1 as changed_on,
        0 as arrears_amount,
        0 as exposure_amount,
        -arrears_amount as suspended_amount,
        0 as has_no_rate
    from suspended_stretches
),

days_changed as (
    select
        rule_book,
        segment,
        borrower_id,
        changed_on,
        sum(arrears_amount) as arrears_amount,
        sum(exposure_amount) as exposure_amount,
        sum(suspended_amount) as suspended_amount,
        sum(has_no_rate) as has_no_rate
    from changes
    group by rule_book, segment, borrower_id, changed_on
),

sums as (
    select
        rule_book,
        segment,
        borrower_id,
        changed_on as valid_from,
        lead(changed_on) over (borrower_days) - 1 as valid_to,
        sum(arrears_amount) over (borrower_days) as arrears_amount,
        sum(exposure_amount) over (borrower_days) as exposure_amount,
        sum(suspended_amount) over (borrower_days) as suspended_amount,
        sum(has_no_rate) over (borrower_days) as has_no_rate
    from days_changed
    window borrower_days as (partition by rule_book, segment, borrower_id order by changed_on)
),

borrower_limits as (
    select distinct
        rule_book,
        segment,
        relative_share,
        absolute_amount
    from limits
    where level = 'borrower'
),

borrower_days as (
    select
        sums.*,
        borrower_limits.relative_share,
        borrower_limits.absolute_amount
    from sums
    inner join borrower_limits
        on
            sums.rule_book = borrower_limits.rule_book
            and sums.segment = borrower_limits.segment
    where sums.valid_from <= {{ as_of_date() }}
),

material as (
    select
        rule_book,
        cast(null as text) as segment,
        loan_id as subject_id,
        false as is_borrower,
        valid_from,
        valid_to,
        true as is_counted
    from facility_stretches
    where not is_suspended
    union all
    select
        pieces.rule_book,
        cast(null as text) as segment,
        pieces.loan_id as subject_id,
        false as is_borrower,
        pieces.valid_from,
        pieces.valid_to,
        not exists (
            select 1
            from suspended
            where
                suspended.rule_book = pieces.rule_book
                and suspended.loan_id = pieces.loan_id
                and pieces.valid_from between suspended.valid_from and suspended.valid_to
        ) as is_counted
    from facility_pieces as pieces
    union all
    select
        rule_book,
        segment,
        borrower_id as subject_id,
        true as is_borrower,
        valid_from,
        valid_to,
        arrears_amount - suspended_amount > relative_share * exposure_amount
        and (has_no_rate > 0 or arrears_amount - suspended_amount > absolute_amount) as is_counted
    from borrower_days
    where
        arrears_amount > relative_share * exposure_amount
        and (has_no_rate > 0 or arrears_amount > absolute_amount)
),

marked as (
    select
        *,
        lag(valid_to) over (
            partition by rule_book, segment, is_borrower, subject_id
            order by valid_from
        ) as previous_to
    from material
),

spells as (
    select
        *,
        count(*) filter (where previous_to is null or previous_to + 1 < valid_from) over (
            partition by rule_book, segment, is_borrower, subject_id
            order by valid_from
        ) as spell_number
    from marked
),

counted as (
    select
        *,
        cast(
            coalesce(
                sum(case when is_counted then valid_to - valid_from + 1 else 0 end) over (
                    partition by rule_book, segment, is_borrower, subject_id, spell_number
                    order by valid_from
                    rows between unbounded preceding and 1 preceding
                ), 0
            ) as integer
        ) as days_before
    from spells
),

{# Only days that reach a threshold are asked for. #}
reaching as (
    select counted.*
    from counted
    inner join lowest on counted.rule_book = lowest.rule_book
    where
        counted.days_before
        + case when counted.is_counted then counted.valid_to - counted.valid_from + 1 else 0 end >= lowest.days_from
),

concerned as (
    select
        loans.loan_id,
        loans.borrower_id,
        segments.rule_book,
        segments.segment
    from loans
    inner join segments on loans.exposure_class = segments.exposure_class
),

final as (
    select
        reaching.rule_book,
        'days_material' as counter,
        concerned.loan_id,
        reaching.valid_from,
        reaching.valid_to,
        case when reaching.is_counted then reaching.valid_from - 1 - reaching.days_before end as counted_from,
        case when not reaching.is_counted then reaching.days_before end as days_frozen
    from reaching
    inner join concerned
        on
            reaching.rule_book = concerned.rule_book
            and reaching.subject_id = concerned.loan_id
    where not reaching.is_borrower
    union all
    select
        reaching.rule_book,
        'days_material' as counter,
        concerned.loan_id,
        reaching.valid_from,
        reaching.valid_to,
        case when reaching.is_counted then reaching.valid_from - 1 - reaching.days_before end as counted_from,
        case when not reaching.is_counted then reaching.days_before end as days_frozen
    from reaching
    inner join concerned
        on
            reaching.rule_book = concerned.rule_book
            and reaching.subject_id = concerned.borrower_id
            and reaching.segment = concerned.segment
    where reaching.is_borrower
)

select * from final
