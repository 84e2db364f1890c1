{# Erased values are a mark where something stood, so that dates exported before the erasure come out as they did. On
   later dates there is no telephone number to call and no address to write to. #}
with known as (
    {{ latest_known(source('servicing', 'borrowers')) }}
),

erasures as (
    select * from {{ source('ops', 'erasures') }}
    where blank_from <= {{ as_of_date() }}
),

final as (
    select
        known.borrower_id,
        known.kind,
        known.name,
        known.born_on,
        known.country,
        known.region,
        known.time_zone,
        known.language,
        known.group_id,
        known.industry_code,
        known.income_amount,
        known.expense_amount,
        upper(known.income_currency) as income_currency,
        case when erasures.borrower_id is null then known.phone end as phone,
        case when erasures.borrower_id is null then known.email end as email,
        case when erasures.borrower_id is null then known.street end as street,
        known.city,
        known.postcode,
        known.legal_form,
        case when erasures.borrower_id is null then known.national_id end as national_id,
        known.national_id_source,
        known.lei
    from known
    left join erasures on known.borrower_id = erasures.borrower_id
)

select * from final
