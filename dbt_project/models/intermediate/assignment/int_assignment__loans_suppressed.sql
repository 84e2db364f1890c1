{# A suppression of one channel leaves the other channels open, so it does not keep a loan from being placed. Both
   ends are included; without a loan it holds for all of the borrower's. #}
with loans as (
    select * from {{ ref('loan_delinquency') }}
),

suppressions as (
    select * from {{ ref('stg_servicing__suppressions') }}
),

kinds as (
    select * from {{ ref('suppression_kinds') }}
),

work_days as (
    select distinct work_on from {{ ref('int_assignment__recipients') }}
),

final as (
    select
        loans.loan_id,
        work_days.work_on,
        string_agg(distinct suppressions.kind, ', ' order by suppressions.kind) as suppression_kinds
    from suppressions
    inner join kinds
        on
            suppressions.kind = kinds.kind
            and kinds.blocks_assignment
    inner join loans
        on
            suppressions.borrower_id = loans.borrower_id
            and (suppressions.loan_id is null or suppressions.loan_id = loans.loan_id)
    inner join work_days
        on
            suppressions.starts_on <= work_days.work_on
            and (suppressions.ends_on is null or suppressions.ends_on >= work_days.work_on)
    where suppressions.channel is null
    group by loans.loan_id, work_days.work_on
)

select * from final
