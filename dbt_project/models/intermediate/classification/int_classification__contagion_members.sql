{# Whom a contagion rule looks at: the loans of a borrower, or of a group of connected clients, that has one which
   the rule can reach, and something beside it to catch it from. #}
{{ config(pre_hook=hash_joins_only()) }}

with contagion as (
    select * from {{ ref('int_classification__book_contagion') }}
),

segments as (
    select * from {{ ref('int_classification__book_segments') }}
),

loans as (
    select * from {{ ref('int_classification__loans_described') }}
),

reports as (
    select * from {{ ref('stg_servicing__credit_reports') }}
),

subjects as (
    select
        loan_id,
        exposure_class,
        'borrower' as subject_level,
        borrower_id as subject_id
    from loans
    union all
    select
        loan_id,
        exposure_class,
        'group' as subject_level,
        group_id as subject_id
    from loans
    where group_id is not null
),

reported as (
    select distinct borrower_id
    from reports
    where
        overdue_90_elsewhere_amount > 0
        and reported_on <= {{ as_of_date() }}
),

counted as (
    select
        *,
        count(*) over (partition by subject_level, subject_id) as loan_count
    from subjects
),

members as (
    select
        contagion.rule_book,
        contagion.rule_number,
        contagion.level,
        counted.subject_id,
        counted.loan_id,
        segments.exposure_class is not null as is_reached,
        bool_or(segments.exposure_class is not null) over (
            partition by contagion.rule_book, contagion.rule_number, counted.subject_id
        ) as reaches_any
    from counted
    inner join contagion on counted.subject_level = contagion.level
    left join segments
        on
            contagion.rule_book = segments.rule_book
            and counted.exposure_class = segments.exposure_class
            and (contagion.segment is null or contagion.segment = segments.segment)
    left join reported
        on
            contagion.with_elsewhere
            and counted.subject_level = 'borrower'
            and counted.subject_id = reported.borrower_id
    where counted.loan_count > 1 or reported.borrower_id is not null
),

final as (
    select
        rule_book,
        rule_number,
        level,
        subject_id,
        loan_id,
        is_reached
    from members
    where reaches_any
)

select * from final
