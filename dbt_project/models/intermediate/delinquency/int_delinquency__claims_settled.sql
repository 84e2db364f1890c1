{# Loans whose state follows from sums: the credits fill the claims due by D in their order, within a claim its
   components in the loan's order. Only loans with something unpaid are sorted. #}
with loans as (
    select * from {{ ref('int_delinquency__loans_selected') }}
),

totals as (
    select * from {{ ref('int_delinquency__loans_totalled') }}
),

claims as (
    select * from {{ ref('int_delinquency__claims_raised') }}
),

loans_with_unpaid as (
    select
        loans.loan_id,
        loans.principal_rank,
        loans.interest_rank,
        loans.fee_rank,
        loans.penalty_rank,
        totals.used_amount
    from totals
    inner join loans on totals.loan_id = loans.loan_id
    where not totals.is_replayed_by_booking and totals.used_amount < totals.due_amount
),

in_order as (
    select
        claims.loan_id,
        claims.claim_kind,
        claims.claim_key,
        claims.due_on,
        claims.principal_amount,
        claims.interest_amount,
        claims.fee_amount,
        claims.penalty_amount,
        claims.claim_amount,
        loans_with_unpaid.principal_rank,
        loans_with_unpaid.interest_rank,
        loans_with_unpaid.fee_rank,
        loans_with_unpaid.penalty_rank,
        loans_with_unpaid.used_amount - (
            sum(claims.claim_amount) over (
                partition by claims.loan_id
                order by claims.due_on, claims.claim_kind_rank, claims.claim_number, claims.claim_key
                rows between unbounded preceding and current row
            ) - claims.claim_amount
        ) as left_for_claim_amount
    from claims
    inner join loans_with_unpaid on claims.loan_id = loans_with_unpaid.loan_id
    where claims.due_on <= {{ as_of_date() }} and claims.lapses_on is null
),

{# What is left for a component, once the components before it are paid. #}
left_by_component as (
    select
        *,
        left_for_claim_amount
        - case when interest_rank < principal_rank then interest_amount else 0 end
        - case when fee_rank < principal_rank then fee_amount else 0 end
        - case when penalty_rank < principal_rank then penalty_amount else 0 end as left_for_principal_amount,
        left_for_claim_amount
        - case when principal_rank < interest_rank then principal_amount else 0 end
        - case when fee_rank < interest_rank then fee_amount else 0 end
        - case when penalty_rank < interest_rank then penalty_amount else 0 end as left_for_interest_amount,
        left_for_claim_amount
        - case when principal_rank < fee_rank then principal_amount else 0 end
        - case when interest_rank < fee_rank then interest_amount else 0 end
        - case when penalty_rank < fee_rank then penalty_amount else 0 end as left_for_fee_amount,
        left_for_claim_amount
        - case when principal_rank < penalty_rank then principal_amount else 0 end
        - case when interest_rank < penalty_rank then interest_amount else 0 end
        - case when fee_rank < penalty_rank then fee_amount else 0 end as left_for_penalty_amount
    from in_order
    where claim_amount > 0 and left_for_claim_amount < claim_amount
),

split as (
    select
        loan_id,
        claim_kind,
        claim_key,
        due_on,
        claim_amount,
        claim_amount - greatest(left_for_claim_amount, 0) as unpaid_amount,
        principal_amount
        - greatest(least(left_for_principal_amount, principal_amount), 0) as unpaid_principal_amount,
        interest_amount - greatest(least(left_for_interest_amount, interest_amount), 0) as unpaid_interest_amount,
        fee_amount - greatest(least(left_for_fee_amount, fee_amount), 0) as unpaid_fee_amount,
        penalty_amount - greatest(least(left_for_penalty_amount, penalty_amount), 0) as unpaid_penalty_amount
    from left_by_component
),

final as (
    select
        loan_id,
        claim_kind,
        claim_key,
        due_on,
        claim_amount,
        cast(unpaid_amount as numeric(20, 4)) as unpaid_amount,
        cast(unpaid_principal_amount as numeric(20, 4)) as unpaid_principal_amount,
        cast(unpaid_interest_amount as numeric(20, 4)) as unpaid_interest_amount,
        cast(unpaid_fee_amount as numeric(20, 4)) as unpaid_fee_amount,
        cast(unpaid_penalty_amount as numeric(20, 4)) as unpaid_penalty_amount
    from split
)

select * from final
