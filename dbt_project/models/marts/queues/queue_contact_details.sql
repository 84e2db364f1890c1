with lines as (
    select * from {{ ref('collection_queue') }}
),

borrowers as (
    select * from {{ ref('stg_servicing__borrowers') }}
),

final as (
    select
        lines.as_of_date,
        lines.recipient_id,
        lines.loan_id,
        lines.party_borrower_id,
        borrowers.name,
        borrowers.born_on,
        borrowers.language,
        borrowers.phone,
        borrowers.email,
        borrowers.street,
        borrowers.postcode,
        borrowers.city,
        borrowers.country
    from lines
    inner join borrowers on lines.party_borrower_id = borrowers.borrower_id
)

select * from final
