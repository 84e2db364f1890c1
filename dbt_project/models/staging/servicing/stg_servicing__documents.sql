with known as (
    {{ latest_known(source('servicing', 'documents')) }}
),

final as (
    select
        document_id,
        loan_id,
        kind,
        addressee_id,
        notice_id,
        received_on,
        sent_on,
        delivered_on,
        deadline_on,
        delivery_proof
    from known
)

select * from final
