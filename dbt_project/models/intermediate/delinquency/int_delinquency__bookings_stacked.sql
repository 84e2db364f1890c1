{# The bookings of a loan in hand in the order of their days: element n of credited_amounts is the sum of the first n
   credits. A day with two has two elements: what is looked up is the last of a day. #}
{{ config(unlogged=true, post_hook='analyze {{ this }}') }}

with loans as (
    select * from {{ ref('int_delinquency__loans_in_hand') }}
),

bookings as (
    {{ of_loans_in_hand(ref('int_delinquency__bookings_valid')) }}
),

bookings_running as (
    select
        bookings.loan_id,
        bookings.effective_on,
        bookings.transaction_id,
        bookings.is_credit,
        bookings.kind in ('repayment', 'recovery') as is_payment,
        bookings.kind = 'disbursement' and loans.is_drawn_in_parts as is_drawing,
        bookings.kind in ('waiver', 'refund') as is_exception,
        sum(case when bookings.is_credit then bookings.amount else 0 end) over in_time as credited_amount,
        case
            when loans.is_drawn_in_parts
                then
                    sum(bookings.amount) filter (
                        where bookings.kind = 'disbursement' and loans.is_drawn_in_parts
                    ) over in_time
        end as disbursed_amount
    from bookings
    inner join loans on bookings.loan_id = loans.loan_id
    window
        in_time as (
            partition by bookings.loan_id
            order by bookings.effective_on, bookings.transaction_id
            rows between unbounded preceding and current row
        )
),

final as (
    select
        loan_id,
        bool_or(is_exception) as has_exception,
        {{ in_time('effective_on') }} filter (where is_credit) as credited_ons,
        {{ in_time('credited_amount') }} filter (where is_credit) as credited_amounts,
        {{ in_time('effective_on') }} filter (where is_payment) as payment_ons,
        {{ in_time('effective_on') }} filter (where is_drawing) as disbursed_ons,
        {{ in_time('disbursed_amount') }} filter (where is_drawing) as disbursed_amounts
    from bookings_running
    group by loan_id
)

select * from final
