{#- Of each loan: what fell due was paid, waived or is unpaid, and what was credited was allocated, stands or was refunded
    (revolving: what stands reduced the balance). The split by component adds up to the whole. -#}
{% test claims_and_credits_reconcile(model) %}
select loan_id
from {{ model }}
where
    due_amount <> paid_amount + waived_amount + unpaid_due_amount
    or credited_amount <> paid_amount + standing_amount + refunded_amount
    or arrears_amount
    <> arrears_principal_amount + arrears_interest_amount + arrears_fee_amount + arrears_penalty_amount
    or arrears_amount > unpaid_due_amount
    or least(
        paid_amount, waived_amount, unpaid_due_amount, standing_amount, refunded_amount,
        arrears_principal_amount, arrears_interest_amount, arrears_fee_amount, arrears_penalty_amount
    ) < 0
{% endtest %}
