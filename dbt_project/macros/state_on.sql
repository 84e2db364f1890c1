{#- A loan's state at the end of a day, read off its stacked claims and credits (int_delinquency__loans_stacked, which
    the query calls stacked) by binary search. Claims 1 to due_count are due by the day,
    1 to past_count before it, 1 to paid_count are wholly paid by the credits used; what is left of those belongs to the
    claim after. -#}
{%- macro stacked_amount(component, position) -%}
coalesce(stacked.due_{{ component }}_amounts[{{ position }}], 0)
{%- endmacro -%}

{#- Lateral joins that find the day's place in the arrays; day is an expression of type date. -#}
{%- macro state_on(day) -%}
cross join lateral (
        select
            coalesce(width_bucket({{ day }}, stacked.due_ons), 0) as due_count,
            coalesce(width_bucket({{ day }} - 1, stacked.due_ons), 0) as past_count,
            coalesce(stacked.used_amounts[width_bucket({{ day }}, stacked.credited_ons)], 0) as used_amount
    ) as counted
    cross join lateral (
        select coalesce(width_bucket(counted.used_amount, stacked.due_amounts), 0) as paid_count
    ) as filled
    cross join lateral (
        select
            filled.paid_count < counted.past_count as is_past_due,
            filled.paid_count < counted.due_count as is_unpaid,
            counted.used_amount - coalesce(stacked.due_amounts[filled.paid_count], 0) as left_amount,
            {%- for component in ['principal', 'interest', 'fee', 'penalty'] %}
            {{ stacked_amount(component, 'filled.paid_count + 1') }}
            - {{ stacked_amount(component, 'filled.paid_count') }} as {{ component }}_amount{{ ',' if not loop.last }}
            {%- endfor %}
    ) as partly_paid
    cross join lateral (
        select
            {%- for component in ['principal', 'interest', 'fee', 'penalty'] %}
            partly_paid.{{ component }}_amount - greatest(
                least(
                    partly_paid.left_amount
                    {%- for other in ['principal', 'interest', 'fee', 'penalty'] if other != component %}
                    - case
                        when stacked.{{ other }}_rank < stacked.{{ component }}_rank then partly_paid.{{ other }}_amount
                        else 0
                    end
                    {%- endfor %},
                    partly_paid.{{ component }}_amount
                ),
                0
            ) as unpaid_{{ component }}_amount{{ ',' if not loop.last }}
            {%- endfor %}
    ) as rest
{%- endmacro -%}

{#- What is past due, as columns of a query with state_on(); the tolerance is not applied yet. -#}
{%- macro oldest_unpaid_due_on() -%}
case when partly_paid.is_past_due then stacked.due_ons[filled.paid_count + 1] end
{%- endmacro -%}

{%- macro arrears_amount() -%}
case when partly_paid.is_past_due then stacked.due_amounts[counted.past_count] - counted.used_amount else 0 end
{%- endmacro -%}

{%- macro component_arrears_amount(component) -%}
case
            when partly_paid.is_past_due
                then
                    {{ stacked_amount(component, 'counted.past_count') }}
                    - {{ stacked_amount(component, 'filled.paid_count + 1') }}
                    + rest.unpaid_{{ component }}_amount
            else 0
        end
{%- endmacro -%}

{#- Principal of claims due by the day that is unpaid. -#}
{%- macro unpaid_principal_amount() -%}
case
            when partly_paid.is_unpaid
                then
                    {{ stacked_amount('principal', 'counted.due_count') }}
                    - {{ stacked_amount('principal', 'filled.paid_count + 1') }}
                    + rest.unpaid_principal_amount
            else 0
        end
{%- endmacro -%}

{#- All of claims due by the day that is unpaid. -#}
{%- macro unpaid_amount() -%}
case when partly_paid.is_unpaid then stacked.due_amounts[counted.due_count] - counted.used_amount else 0 end
{%- endmacro -%}

{#- Principal of claims that come due later. A chargeback is none before its value date. -#}
{%- macro coming_principal_amount(day) -%}
{{ stacked_amount('principal', 'cardinality(stacked.due_ons)') }}
        - {{ stacked_amount('principal', 'counted.due_count') }}
        - case
            when stacked.chargeback_ons is null then 0
            else (
                select coalesce(sum(chargebacks.amount), 0)
                from
                    unnest(stacked.chargeback_ons, stacked.chargeback_principal_amounts)
                        as chargebacks (charged_on, amount)
                where chargebacks.charged_on > {{ day }}
            )
        end
{%- endmacro -%}

{#- Principal of the version that is not disbursed yet, of loans drawn in parts. -#}
{%- macro undrawn_amount(day) -%}
case
            when stacked.is_drawn_in_parts
                then
                    greatest(
                        stacked.scheduled_principal_amount
                        - coalesce(stacked.disbursed_amounts[width_bucket({{ day }}, stacked.disbursed_ons)], 0),
                        0
                    )
            else 0
        end
{%- endmacro -%}
