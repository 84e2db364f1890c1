-- Delinquency pauses, and the changes of a schedule that put off what was due.
with assumed as (
    select 'Asia/Kolkata' as time_zone  -- the tenant's
),

delivered as (
    select id
    from m_loan
    where disbursedon_date is not null and loan_status_id >= 300 and loan_status_id not in (400, 500)
),

-- A pause ends on its last day, or on the day of a resume that lies in it; that day counts again.
pauses as (
    select
        'pause-' || pauses.id as forbearance_id,
        pauses.loan_id,
        'delinquency_pause' as kind,
        cast(timezone(assumed.time_zone, pauses.created_on_utc) as date) as agreed_on,
        pauses.start_date as starts_on,
        least(pauses.end_date, min(resumes.start_date)) as ends_on,
        false as is_distressed,
        greatest(pauses.last_modified_on_utc, max(resumes.last_modified_on_utc)) as updated_at
    from m_loan_delinquency_action as pauses
    cross join assumed
    left join m_loan_delinquency_action as resumes
        on
            pauses.loan_id = resumes.loan_id
            and resumes.action = 'RESUME'
            and resumes.start_date between pauses.start_date and pauses.end_date
    where pauses.action = 'PAUSE'
    group by pauses.id, assumed.time_zone
),

-- Re-ageing (29) and re-amortisation (30) move what is past due into instalments to come. Their amount is the principal
-- moved; where it is nothing, nobody was relieved.
restated as (
    select
        'restated-' || id as forbearance_id,
        loan_id,
        'instalment_plan' as kind,
        transaction_date as agreed_on,
        transaction_date as starts_on,
        cast(null as date) as ends_on,
        amount > 0 as is_distressed,
        last_modified_on_utc as updated_at
    from m_loan_transaction
    where transaction_type_enum in (29, 30) and not is_reversed
),

forbearances as (
    select * from pauses
    union all
    select * from restated
),

final as (
    select
        forbearances.forbearance_id,
        cast(forbearances.loan_id as text) as loan_id,
        forbearances.kind,
        forbearances.agreed_on,
        forbearances.starts_on,
        forbearances.ends_on,
        forbearances.is_distressed,
        forbearances.updated_at,
        -- Fineract does not know:
        null as debt_relief_amount, null as grace_ends_on
    from forbearances
    inner join delivered on forbearances.loan_id = delivered.id
)

select * from final
