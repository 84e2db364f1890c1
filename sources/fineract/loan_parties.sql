-- Guarantors of disbursed loans. Read whole: m_guarantor does not say when a row was changed.
with final as (
    select distinct on (loan_id, borrower_id, role)
        cast(m_loan.id as text) as loan_id,
        -- GuarantorType: 1 CUSTOMER, a client of the lender; 3 EXTERNAL. 2, STAFF, is nobody to collect from.
        case
            when m_guarantor.type_enum = 1 then 'client-' || m_guarantor.entity_id
            else 'guarantor-' || m_guarantor.id
        end as borrower_id,
        'guarantor' as role,
        m_loan.disbursedon_date as starts_on,
        -- Fineract does not know:
        null as ends_on
    from m_guarantor
    inner join m_loan on m_guarantor.loan_id = m_loan.id
    where
        m_guarantor.is_active
        and m_guarantor.type_enum in (1, 3)
        and m_loan.disbursedon_date is not null
        and m_loan.loan_status_id >= 300
        and m_loan.loan_status_id not in (400, 500)
    order by loan_id, borrower_id, role
)

select * from final
