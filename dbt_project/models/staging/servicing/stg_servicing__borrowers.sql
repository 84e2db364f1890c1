with known as (
    {{ latest_known(source('servicing', 'borrowers')) }}
),

final as (
    select
        borrower_id,
        kind,
        name,
        born_on,
        country,
        region,
        time_zone,
        language,
        group_id,
        industry_code,
        income_amount,
        expense_amount,
        upper(income_currency) as income_currency,
        phone,
        email,
        street,
        city,
        postcode,
        legal_form,
        national_id,
        national_id_source,
        lei
    from known
)

select * from final
