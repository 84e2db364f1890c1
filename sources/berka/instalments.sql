-- Equal monthly instalments, due on the 12th, the first on the first 12th on or after the day the loan was granted.
-- The amount is that of the account's standing order for the loan: exact to the heller, while loan.payments is rounded.
with granted as (
    select
        loan.loan_id,
        cast(loan.duration as integer) as instalment_count,
        cast(strptime('19' || loan.date, '%Y%m%d') as date) as granted_on,
        standing.amount,
        loan._file,
        loan._line
    from loan
    inner join "order" as standing on loan.account_id = standing.account_id and standing.k_symbol = 'UVER'
),

dated as (
    select
        *,
        date_trunc('month', granted_on)
        + to_months(case when day(granted_on) <= 12 then 0 else 1 end) + to_days(11) as first_due_on
    from granted
),

numbered as (
    select
        *,
        unnest(range(1, instalment_count + 1)) as instalment_number
    from dated
),

final as (
    select
        loan_id,
        1 as schedule_version,
        granted_on as effective_on,
        instalment_number,
        cast(first_due_on + to_months(cast(instalment_number - 1 as integer)) as date) as due_on,
        amount as principal_amount,
        0 as interest_amount,
        0 as fee_amount,
        0 as penalty_amount,
        null as basis,  -- gross: the whole schedule
        _file,
        _line
    from numbered
)

select * from final
