{# A loan has a row from its disbursement until it is closed or sold. The version of its schedule in force at D is
   the highest one that is effective by D; whatever happened before is replayed against it. #}
with loans as (
    select * from {{ ref('stg_servicing__loans') }}
),

instalments as (
    select * from {{ ref('stg_servicing__instalments') }}
),

orders as (
    select * from {{ ref('int_delinquency__allocation_orders_ranked') }}
),

versions as (
    select
        loan_id,
        schedule_version,
        min(effective_on) as effective_on,
        max(basis) as basis
    from instalments
    where effective_on <= {{ as_of_date() }}
    group by loan_id, schedule_version
),

versions_in_force as (
    select distinct on (loan_id)
        loan_id,
        schedule_version,
        effective_on,
        basis
    from versions
    order by loan_id asc, schedule_version desc
),

final as (
    select
        loans.loan_id,
        loans.borrower_id,
        loans.product,
        loans.currency,
        loans.governing_law,
        loans.exposure_class,
        loans.allocation_mode,
        case when loans.status_on <= {{ as_of_date() }} then loans.status else 'active' end as status,
        loans.disbursed_on,
        versions_in_force.schedule_version,
        case when versions_in_force.basis = 'unpaid' then versions_in_force.effective_on end as replayed_from,
        loans.product = 'revolving' as is_revolving,
        coalesce(loans.is_drawn_in_parts, false) as is_drawn_in_parts,
        loans.grace_days,
        loans.principal_amount,
        loans.tolerance_amount,
        orders.principal_rank,
        orders.interest_rank,
        orders.fee_rank,
        orders.penalty_rank
    from loans
    inner join orders on loans.allocation_order = orders.allocation_order
    left join versions_in_force on loans.loan_id = versions_in_force.loan_id
    where
        loans.disbursed_on <= {{ as_of_date() }}
        and not (loans.status in ('closed', 'sold') and loans.status_on <= {{ as_of_date() }})
)

select * from final
