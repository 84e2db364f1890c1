{#- Loans whose state follows from sums: what fell due is what credits paid and what is unpaid; what was credited is what
    paid claims and what stands as credit (revolving: or reduced the balance). -#}
{% test claims_are_paid_or_unpaid(model) %}
select loan_id
from {{ model }}
where
    not is_replayed_by_booking
    and (
        (not is_revolving and due_amount - unpaid_due_amount + credit_amount <> credited_amount)
        or due_amount - unpaid_due_amount > credited_amount
    )
{% endtest %}
