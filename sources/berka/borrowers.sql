-- The owner of the account that a loan was granted on; a disponent may use the account but owes nothing.
-- The data is anonymised: there are no names, telephones or addresses, only birth dates and districts.
with owners as (
    select disp.client_id
    from disp
    inner join loan on disp.account_id = loan.account_id
    where disp.type = 'OWNER'
),

final as (
    select
        'client-' || client.client_id as borrower_id,
        'person' as kind,
        'Client ' || client.client_id as name,
        -- YYMMDD, all of the 1900s; 50 is added to the month for women.
        make_date(
            1900 + cast(client.birth_number[1:2] as integer),
            cast(client.birth_number[3:4] as integer) % 50,
            cast(client.birth_number[5:6] as integer)
        ) as born_on,
        'CZ' as country,
        'Europe/Prague' as time_zone,
        'cs' as language,
        district.A2 as city,
        -- The data does not know:
        null as region, null as group_id, null as industry_code, null as income_amount, null as expense_amount,
        null as income_currency, null as phone, null as email, null as street, null as postcode, null as legal_form,
        null as national_id, null as national_id_source, null as lei,
        client._file,
        client._line
    from client
    inner join owners on client.client_id = owners.client_id
    left join district on client.district_id = district.A1
)

select * from final
