{# A loan is restructured when a borrower in distress was given another contract. #}
with forbearances as (
    select * from {{ ref('stg_servicing__forbearances') }}
),

kinds as (
    select * from {{ ref('restructuring_kinds') }}
),

final as (
    select
        forbearances.loan_id,
        min(forbearances.starts_on) as restructured_since_on
    from forbearances
    inner join kinds on forbearances.kind = kinds.forbearance_kind
    where
        kinds.is_restructuring
        and forbearances.is_distressed
        and forbearances.agreed_on <= {{ as_of_date() }}
    group by forbearances.loan_id
)

select * from final
