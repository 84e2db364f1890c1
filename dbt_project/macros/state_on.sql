{#- A loan's state at the end of days, read off its stacked claims and credits by binary search, as a subquery for a lateral
    join: one row per row of `days`, a subquery that gives state_on. The query around it calls the stacked row stacked.
    Claims 1 to due_count are due by the day, 1 to past_count before it, 1 to paid_count are wholly paid by the credits
    used; what is left of those belongs to the claim after, its components in the loan's order.
    `offset 0` keeps PostgreSQL from writing a step's expressions out again wherever the next step names them: each
    search would be made dozens of times a day. -#}
{%- macro states_on(days) -%}
{%- set components = ['principal', 'interest', 'fee', 'penalty'] -%}
(
        select
            partly_paid.*,
            case when partly_paid.is_past_due then stacked.due_ons[partly_paid.paid_count + 1] end as oldest_unpaid_due_on,
            case
                when partly_paid.is_past_due
                    then
                        stacked.instalment_counts[partly_paid.past_count]
                        - coalesce(stacked.instalment_counts[partly_paid.paid_count], 0)
                else 0
            end as instalments_past_due,
            case
                when partly_paid.is_past_due then stacked.due_amounts[partly_paid.past_count] - partly_paid.used_amount
                else 0
            end as arrears_amount,
            case
                when partly_paid.is_unpaid then stacked.due_amounts[partly_paid.due_count] - partly_paid.used_amount
                else 0
            end as unpaid_amount,
            {%- for component in components %}
            case
                when partly_paid.is_past_due
                    then
                        {{ stacked_amount(component, 'partly_paid.past_count') }}
                        - {{ stacked_amount(component, 'partly_paid.paid_count + 1') }}
                        + {{ unpaid_of_partly_paid(component) }}
                else 0
            end as arrears_{{ component }}_amount,
            {%- endfor %}
            case
                when partly_paid.is_unpaid
                    then
                        {{ stacked_amount('principal', 'partly_paid.due_count') }}
                        - {{ stacked_amount('principal', 'partly_paid.paid_count + 1') }}
                        + {{ unpaid_of_partly_paid('principal') }}
                else 0
            end as unpaid_principal_amount,
            {{ stacked_amount('principal', 'cardinality(stacked.due_ons)') }}
            - {{ stacked_amount('principal', 'partly_paid.due_count') }}
            - case
                when stacked.chargeback_ons is null then 0
                else (
                    {#- A chargeback is no claim before its value date. #}
                    select coalesce(sum(chargebacks.amount), 0)
                    from
                        unnest(stacked.chargeback_ons, stacked.chargeback_principal_amounts)
                            as chargebacks (charged_on, amount)
                    where chargebacks.charged_on > partly_paid.state_on
                )
            end as coming_principal_amount,
            case
                when stacked.is_drawn_in_parts
                    then
                        greatest(
                            stacked.scheduled_principal_amount - coalesce(
                                stacked.disbursed_amounts[width_bucket(partly_paid.state_on, stacked.disbursed_ons)], 0
                            ),
                            0
                        )
                else 0
            end as undrawn_amount
        from (
            select
                filled.*,
                filled.paid_count < filled.past_count as is_past_due,
                filled.paid_count < filled.due_count as is_unpaid,
                case
                    when filled.paid_count < filled.due_count
                        then filled.used_amount - coalesce(stacked.due_amounts[filled.paid_count], 0)
                end as left_amount,
                {%- for component in components %}
                case
                    when filled.paid_count < filled.due_count
                        then
                            {{ stacked_amount(component, 'filled.paid_count + 1') }}
                            - {{ stacked_amount(component, 'filled.paid_count') }}
                end as claimed_{{ component }}_amount{{ ',' if not loop.last }}
                {%- endfor %}
            from (
                select
                    counted.*,
                    coalesce(width_bucket(counted.used_amount, stacked.due_amounts), 0) as paid_count
                from (
                    select
                        days.*,
                        coalesce(width_bucket(days.state_on, stacked.due_ons), 0) as due_count,
                        coalesce(width_bucket(days.state_on - 1, stacked.due_ons), 0) as past_count,
                        coalesce(
                            stacked.used_amounts[width_bucket(days.state_on, stacked.credited_ons)], 0
                        ) as used_amount
                    from {{ days }} as days
                    offset 0
                ) as counted
                offset 0
            ) as filled
            offset 0
        ) as partly_paid
        offset 0
    )
{%- endmacro -%}

{%- macro stacked_amount(component, position) -%}
coalesce(stacked.due_{{ component }}_amounts[{{ position }}], 0)
{%- endmacro -%}

{#- What is left of the claim's component, once what the claim was paid has gone to the components before it. -#}
{%- macro unpaid_of_partly_paid(component) -%}
partly_paid.claimed_{{ component }}_amount - greatest(
                            least(
                                partly_paid.left_amount
                                {%- for other in ['principal', 'interest', 'fee', 'penalty'] if other != component %}
                                - case
                                    when stacked.{{ other }}_rank < stacked.{{ component }}_rank
                                        then partly_paid.claimed_{{ other }}_amount
                                    else 0
                                end
                                {%- endfor %},
                                partly_paid.claimed_{{ component }}_amount
                            ),
                            0
                        )
{%- endmacro -%}

{#- The columns of a stacked loan that states_on() reads, its arrays unpacked: one that PostgreSQL has compressed or put
    aside, as it does with long schedules, would else be fetched again at every look into it. Unpack once a loan, in a
    subquery that ends in `offset 0`. -#}
{%- macro unpacked() -%}
{%- for column in [
    'epoch_from', 'epoch_until', 'is_revolving', 'is_drawn_in_parts', 'principal_rank', 'interest_rank', 'fee_rank',
    'penalty_rank', 'scheduled_principal_amount', 'chargeback_ons', 'chargeback_principal_amounts', 'disbursed_ons',
    'disbursed_amounts',
] -%}
stacked.{{ column }},
        {% endfor -%}
{%- for column in [
    'due_ons', 'instalment_counts', 'due_amounts', 'due_principal_amounts', 'due_interest_amounts', 'due_fee_amounts',
    'due_penalty_amounts', 'credited_ons', 'used_amounts',
] -%}
stacked.{{ column }} || '{}' as {{ column }}{{ ',' if not loop.last }}
        {% endfor -%}
{%- endmacro -%}
