{# A loan is held back while a finding on it or its borrower is open, or where its own figures cannot be trusted.
   Findings that the later gates of D itself make are not read: they come after this day was built, and building it
   again must give the same. #}
with loans as (
    select * from {{ ref('int_delinquency__loans_positioned') }}
),

findings as (
    select
        finding_id,
        loan_id,
        borrower_id,
        opened_on,
        reason
    from {{ source('quarantine', 'rows') }}
    where
        opened_on <= {{ known_on() }}
        and (closed_on is null or closed_on > {{ known_on() }})
        and (opened_on < {{ known_on() }} or stage in ('extract', 'raw'))
),

reasons as (
    select
        loans.loan_id,
        1 as reason_rank,
        findings.opened_on,
        findings.finding_id,
        findings.reason
    from findings
    inner join loans on findings.loan_id = loans.loan_id
    union all
    select
        loans.loan_id,
        2 as reason_rank,
        findings.opened_on,
        findings.finding_id,
        'Borrower: ' || findings.reason as reason
    from findings
    inner join loans on findings.borrower_id = loans.borrower_id
    where findings.loan_id is distinct from loans.loan_id
    union all
    select
        loan_id,
        3 as reason_rank,
        {{ as_of_date() }} as opened_on,
        '' as finding_id,
        'A refund takes back more than was paid; it was left out.' as reason
    from loans
    where refused_refund_count > 0
    union all
    select
        loan_id,
        4 as reason_rank,
        {{ as_of_date() }} as opened_on,
        '' as finding_id,
        'No version of the schedule is in force, so nothing can be said to be due.' as reason
    from loans
    where schedule_version is null and not is_revolving
),

ranked as (
    select
        loan_id,
        reason,
        row_number() over (
            partition by loan_id order by reason_rank, opened_on, finding_id collate "C"
        ) as reason_position,
        count(*) over (partition by loan_id) as reason_count
    from reasons
),

final as (
    select
        loan_id,
        reason || case when reason_count > 1 then ' (' || reason_count - 1 || ' more)' else '' end as held_back_reason
    from ranked
    where reason_position = 1
)

select * from final
