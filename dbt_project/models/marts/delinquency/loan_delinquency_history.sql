{# Every day of every loan's life, as known at D, in stretches on which its oldest unpaid claim and its arrears stay the
   same. They can change on the days alone that the loan's rows name, so those days are looked at, each by itself, and
   neighbours that agree are one stretch. Of a touched loan only what follows changed_from is computed again, onto the
   stretch that was open then. #}
{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['loan_id', 'valid_from'],
        on_schema_change='fail',
        pre_hook="{{ take_touched_out('kept.valid_from >= touched.changed_from') }}",
        post_hook=["{{ mark_kept() }}", "{{ analyse_kept() }}"],
    )
}}

with loans as (
    {{ latest_known(source('servicing', 'loans')) }}
),

touched as (  -- noqa: ST03
    select * from {{ ref('int_delinquency__loans_touched') }}
),

in_hand as (  -- noqa: ST03
    select * from {{ ref('int_delinquency__loans_in_hand') }}
),

batches as (
    select * from {{ source('ops', 'batches') }}
),

stacked as not materialized (
    select * from {{ ref('int_delinquency__loans_stacked') }}
),

replayed as (
    select * from {{ ref('int_delinquency__days_replayed') }}
),

{# What lies before the first delivery of a source was never told to anybody on its day. #}
first_deliveries as (
    select
        source,
        min(batch_date) as delivered_from
    from batches
    where state = 'accepted'
    group by source
),

loans_followed as (
    select
        loans.loan_id,
        loans.currency,
        loans.tolerance_amount,
        loans.disbursed_on,
        {{ "greatest(loans.disbursed_on, touched.changed_from)" if is_incremental() else "loans.disbursed_on" }}
            as computed_from,
        case when loans.status in ('closed', 'sold') then loans.status_on - 1 end as ends_on,
        least(
            case when loans.status in ('closed', 'sold') then loans.status_on - 1 end, {{ as_of_date() }}
        ) as computed_to,
        first_deliveries.delivered_from{{ "," if is_incremental() }}
        {{ "touched.changed_from" if is_incremental() }}
    from loans
    left join first_deliveries on loans._source = first_deliveries.source
    {% if is_incremental() %}
    inner join touched on loans.loan_id = touched.loan_id
    {% elif is_of_a_few_loans() %}
    where loans.loan_id in (select in_hand.loan_id from in_hand)
    {% endif %}
),

of_replayed as (
    select
        replayed.loan_id,
        replayed.state_on,
        replayed.state_until,
        replayed.arrears_principal_amount
        + replayed.arrears_interest_amount
        + replayed.arrears_fee_amount
        + replayed.arrears_penalty_amount as arrears_amount,
        replayed.oldest_unpaid_due_on,
        case
            when not stacked.is_revolving
                then states.coming_principal_amount + replayed.unpaid_principal_amount - states.undrawn_amount
        end as outstanding_principal_amount,
        replayed.unpaid_other_amount
    from replayed
    inner join stacked
        on
            replayed.loan_id = stacked.loan_id
            and replayed.epoch_from = stacked.epoch_from
    cross join lateral {{ states_on('(select replayed.state_on)') }} as states
),

{# Loan by loan: the days that its rows name, the state on each, and of those that differ from the day before one
   stretch each. Nothing but a loan's own days is ever sorted. #}
stretches as (
    select
        loans_followed.loan_id,
        loans_followed.currency,
        loans_followed.ends_on,
        loans_followed.delivered_from,
        changes.*
    from loans_followed
    -- noqa: disable=ST05,RF01,LT02
    cross join lateral (
        select
            compared.changed_on as valid_from,
            lead(compared.changed_on) over (order by compared.changed_on) - 1 as valid_to,
            compared.oldest_unpaid_due_on,
            compared.arrears_amount,
            compared.outstanding_principal_amount,
            compared.outstanding_amount
        from (
            select
                evaluated.*,
                lag(evaluated.oldest_unpaid_due_on) over (order by evaluated.changed_on) as previous_due_on,
                lag(evaluated.arrears_amount) over (order by evaluated.changed_on) as previous_amount
            from (
                select
                    states.state_on as changed_on,
                    case
                        when states.arrears_amount > loans_followed.tolerance_amount then states.oldest_unpaid_due_on
                    end as oldest_unpaid_due_on,
                    states.arrears_amount,
                    case
                        when not stacked.is_revolving
                            then states.coming_principal_amount + states.unpaid_principal_amount - states.undrawn_amount
                    end as outstanding_principal_amount,
                    case
                        when not stacked.is_revolving
                            then states.coming_principal_amount + states.unpaid_amount - states.undrawn_amount
                    end as outstanding_amount
                from (
                    select
                        greatest(stacked.epoch_from, loans_followed.computed_from) as followed_from,
                        least(stacked.epoch_until - 1, loans_followed.computed_to) as followed_to,
                        {{ unpacked() }}
                    from stacked
                    where
                        stacked.loan_id = loans_followed.loan_id
                        and not stacked.is_replayed
                        and stacked.epoch_from <= loans_followed.computed_to
                        and stacked.epoch_until > loans_followed.computed_from
                        and loans_followed.computed_from <= loans_followed.computed_to
                    offset 0 -- noqa: AM09
                ) as stacked
                cross join lateral {{ states_on('(
                    select stacked.followed_from as state_on
                    union
                    select due.due_on + 1 as state_on
                    from unnest(stacked.due_ons) as due (due_on)
                    where due.due_on >= stacked.followed_from and due.due_on < stacked.followed_to
                    union
                    select credited.credited_on as state_on
                    from unnest(stacked.credited_ons) as credited (credited_on)
                    where credited.credited_on > stacked.followed_from and credited.credited_on <= stacked.followed_to
                )') }} as states
                union all
                select
                    greatest(of_replayed.state_on, loans_followed.computed_from) as changed_on,
                    case
                        when of_replayed.arrears_amount > loans_followed.tolerance_amount
                            then of_replayed.oldest_unpaid_due_on
                    end as oldest_unpaid_due_on,
                    of_replayed.arrears_amount,
                    of_replayed.outstanding_principal_amount,
                    of_replayed.outstanding_principal_amount + of_replayed.unpaid_other_amount as outstanding_amount
                from of_replayed
                where
                    of_replayed.loan_id = loans_followed.loan_id
                    and of_replayed.state_on <= loans_followed.computed_to
                    and of_replayed.state_until > loans_followed.computed_from
                    and loans_followed.computed_from <= loans_followed.computed_to
                {% if is_incremental() %}
                {# The stretch that was open before the loan was touched. #}
                union all
                (
                    select
                        kept.valid_from as changed_on,
                        kept.oldest_unpaid_due_on,
                        kept.arrears_amount,
                        kept.outstanding_principal_amount,
                        kept.outstanding_amount
                    from {{ this }} as kept
                    where kept.loan_id = loans_followed.loan_id and kept.valid_from < loans_followed.changed_from
                    order by kept.valid_from desc
                    limit 1
                )
                {% endif %}
            ) as evaluated
        ) as compared
        where
            compared.arrears_amount is distinct from compared.previous_amount
            or compared.oldest_unpaid_due_on is distinct from compared.previous_due_on
    ) as changes
    -- noqa: enable=ST05,RF01,LT02
),

final as (
    select
        stretches.loan_id,
        upper(stretches.currency) as currency,
        stretches.valid_from,
        coalesce(
            stretches.valid_to,
            case when stretches.ends_on < {{ as_of_date() }} then stretches.ends_on end
        ) as valid_to,
        stretches.oldest_unpaid_due_on,
        cast(stretches.arrears_amount as numeric(20, 4)) as arrears_amount,
        cast(stretches.outstanding_principal_amount as numeric(20, 4)) as outstanding_principal_amount,
        cast(stretches.outstanding_amount as numeric(20, 4)) as outstanding_amount,
        coalesce(stretches.valid_from < stretches.delivered_from, false) as is_reconstructed
    from stretches
)

select * from final
