-- Whoever owes or guarantees a disbursed loan: clients, groups that borrow as one, guarantors who are no clients.
-- Read whole: neither addresses nor groups nor guarantors say when they were changed.
with assumed as (
    -- What Fineract does not keep. Set it for your lender; an address with a two-letter country code goes before it.
    select
        'IN' as country,
        'Asia/Kolkata' as time_zone,
        'en' as language
),

loans as (
    select
        id,
        client_id,
        group_id
    from m_loan
    where disbursedon_date is not null and loan_status_id >= 300 and loan_status_id not in (400, 500)
),

guarantors as (
    select m_guarantor.*
    from m_guarantor
    inner join loans on m_guarantor.loan_id = loans.id
    where m_guarantor.is_active
),

clients as (
    select client_id
    from loans
    where client_id is not null
    union
    select entity_id
    from guarantors
    where type_enum = 1  -- GuarantorType CUSTOMER
),

addresses as (
    select distinct on (m_client_address.client_id)
        m_client_address.client_id,
        concat_ws(', ', m_address.street, m_address.address_line_1, m_address.address_line_2) as street,
        coalesce(m_address.city, m_address.town_village) as city,
        m_address.postal_code,
        countries.code_value as country
    from m_client_address
    inner join m_address on m_client_address.address_id = m_address.id
    left join m_code_value as countries on m_address.country_id = countries.id
    where m_client_address.is_active
    order by m_client_address.client_id, m_client_address.id
),

from_clients as (
    select
        'client-' || m_client.id as borrower_id,
        case when m_client.legal_form_enum = 2 then 'company' else 'person' end as kind,  -- LegalForm ENTITY
        m_client.display_name as name,
        m_client.date_of_birth as born_on,
        addresses.country,
        m_client.mobile_no as phone,
        m_client.email_address as email,
        addresses.street,
        addresses.city,
        addresses.postal_code as postcode
    from m_client
    inner join clients on m_client.id = clients.client_id
    left join addresses on m_client.id = addresses.client_id
),

-- A group borrows as one body; the contract has no kind for it that fits better.
from_groups as (
    select
        'group-' || m_group.id as borrower_id,
        'company' as kind,
        m_group.display_name as name,
        cast(null as date) as born_on,
        cast(null as text) as country,
        cast(null as text) as phone,
        cast(null as text) as email,
        cast(null as text) as street,
        cast(null as text) as city,
        cast(null as text) as postcode
    from m_group
    where m_group.id in (select group_id from loans where client_id is null)
),

from_guarantors as (
    select
        'guarantor-' || id as borrower_id,
        'person' as kind,
        concat_ws(' ', firstname, lastname) as name,
        dob as born_on,
        country,
        coalesce(mobile_number, house_phone_number) as phone,
        cast(null as text) as email,
        concat_ws(', ', address_line_1, address_line_2) as street,
        city,
        zip as postcode
    from guarantors
    where type_enum = 3  -- GuarantorType EXTERNAL
),

everybody as (
    select * from from_clients
    union all
    select * from from_groups
    union all
    select * from from_guarantors
),

final as (
    select
        everybody.borrower_id,
        everybody.kind,
        everybody.name,
        everybody.born_on,
        case when everybody.country ~ '^[A-Z]{2}$' then everybody.country else assumed.country end as country,
        assumed.time_zone,
        assumed.language,
        everybody.phone,
        everybody.email,
        nullif(everybody.street, '') as street,
        everybody.city,
        everybody.postcode,
        -- Fineract does not know:
        null as region, null as group_id, null as industry_code, null as income_amount, null as expense_amount,
        null as income_currency, null as legal_form, null as national_id, null as national_id_source, null as lei
    from everybody
    cross join assumed
)

select * from final
