{#- What the lender may ask for of one epoch, as a subquery for a lateral join: instalments of the version in force (coming
    ones too), charges, chargebacks. The query around it has the epoch and its loan as epochs and loans, and instalments,
    charges and bookings to read, loan by loan, by their indexes: so the claims of all loans never have to be sorted. -#}
{%- macro claims_of_epoch() -%}
(
        select
            'instalment' as claim_kind,
            1 as claim_kind_rank,
            instalments.instalment_number as claim_number,
            '' collate "C" as claim_key, -- noqa: RF02
            instalments.due_on,
            cast(null as date) as lapses_on,
            instalments.principal_amount,
            instalments.interest_amount,
            instalments.fee_amount,
            instalments.penalty_amount
        from instalments
        where
            instalments.loan_id = epochs.loan_id
            and instalments.schedule_version = epochs.schedule_version
            and (
                instalments.effective_on <= epochs.epoch_from
                or (
                    loans.is_revolving
                    and not loans.is_drawn_in_parts
                    and instalments.effective_on <= instalments.due_on
                )
            )
        union all
        {#- Waived on or before its due date a charge never becomes a claim; waived later, what is unpaid of it lapses
            that day. #}
        select
            'charge' as claim_kind,
            2 as claim_kind_rank,
            0 as claim_number,
            charges.charge_id collate "C" as claim_key, -- noqa: RF02
            charges.due_on,
            charges.waived_on as lapses_on,
            cast(0 as numeric(20, 4)) as principal_amount,
            cast(0 as numeric(20, 4)) as interest_amount,
            cast(case when charges.kind = 'fee' then charges.amount else 0 end as numeric(20, 4)) as fee_amount,
            cast(case when charges.kind = 'penalty' then charges.amount else 0 end as numeric(20, 4)) as penalty_amount
        from charges
        where
            charges.loan_id = epochs.loan_id
            and (charges.waived_on is null or charges.waived_on > charges.due_on)
            and (epochs.replayed_from is null or charges.due_on >= epochs.replayed_from)
        union all
        select
            'chargeback' as claim_kind,
            3 as claim_kind_rank,
            0 as claim_number,
            bookings.transaction_id collate "C" as claim_key, -- noqa: RF02
            bookings.effective_on as due_on,
            cast(null as date) as lapses_on,
            cast(
                case when coalesce(bookings.component, 'principal') = 'principal' then bookings.amount else 0 end
                as numeric(20, 4)
            ) as principal_amount,
            cast(case when bookings.component = 'interest' then bookings.amount else 0 end as numeric(20, 4))
                as interest_amount,
            cast(case when bookings.component = 'fee' then bookings.amount else 0 end as numeric(20, 4)) as fee_amount,
            cast(case when bookings.component = 'penalty' then bookings.amount else 0 end as numeric(20, 4))
                as penalty_amount
        from bookings
        where
            bookings.loan_id = epochs.loan_id
            and bookings.kind = 'chargeback'
            and (epochs.replayed_from is null or bookings.effective_on >= epochs.replayed_from)
    )
{%- endmacro -%}
