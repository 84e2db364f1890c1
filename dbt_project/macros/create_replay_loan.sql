{#- The function that replays one loan claim by claim and booking by booking, where set-based SQL cannot: waivers, refunds,
    charges that lapse partly paid, component_first. It reads no table: all it knows are its arguments, so it gives the
    same answer whenever it is called.

    Claims come stacked (int_delinquency__loans_stacked): element n is the sum of the first n, in the order in which they
    are paid; a component without an array is never claimed. Bookings come in the order in which they count (kinds credit,
    waiver, refund). component_ranks says for principal, interest, fee and penalty which place each has in the order of
    payment, 1 to 4. Gives a row for each day from from_on until before until_on on which something changes: the state at
    the end of that day, after the claims due, the charges that lapse and the bookings of the day. -#}
{%- macro create_replay_loan() -%}
drop function if exists working.replay_loan;

create function working.replay_loan(
    is_component_first boolean,
    is_revolving boolean,
    component_ranks integer [],
    from_on date,
    until_on date,
    claims_due_on date [],
    claims_lapse_on date [],
    instalment_counts integer [],
    due_principal_amounts numeric [],
    due_interest_amounts numeric [],
    due_fee_amounts numeric [],
    due_penalty_amounts numeric [],
    bookings_on date [],
    booking_kinds text [],
    booking_components text [],
    booking_amounts numeric []
) returns table (
    state_on date,
    oldest_unpaid_due_on date,
    instalments_past_due integer,
    arrears_principal_amount numeric,
    arrears_interest_amount numeric,
    arrears_fee_amount numeric,
    arrears_penalty_amount numeric,
    unpaid_principal_amount numeric,
    unpaid_other_amount numeric,
    due_amount numeric,
    paid_amount numeric,
    waived_amount numeric,
    credited_amount numeric,
    refunded_amount numeric,
    standing_amount numeric,
    refused_refund_count integer
)
language plpgsql immutable
as $replay$
declare
    component_names constant text [] := array['principal', 'interest', 'fee', 'penalty'];
    claim_count constant integer := coalesce(cardinality(claims_due_on), 0);
    component_order constant integer [] := array[
        array_position(component_ranks, 1), array_position(component_ranks, 2),
        array_position(component_ranks, 3), array_position(component_ranks, 4)
    ];
    unpaid numeric [] [] := array_fill(0::numeric, array[claim_count, 4]);
    paid numeric [] [] := array_fill(0::numeric, array[claim_count, 4]);
    standing numeric := 0;      -- credit that pays claims to come; revolving: what reduced the balance only
    due_count integer := 0;     -- claims 1 to due_count are due
    first_open integer := 1;    -- before it nothing is unpaid
    state_day date;             -- the day whose events are being played
    event record;
    available numeric;          -- what an event brings to pay claims with
    rest numeric;
    part numeric;
    component integer;
begin
    due_amount := 0;
    paid_amount := 0;
    waived_amount := 0;
    credited_amount := 0;
    refunded_amount := 0;
    refused_refund_count := 0;

    for i in 1..claim_count loop
        unpaid[i][1] := due_principal_amounts[i] - coalesce(due_principal_amounts[i - 1], 0);
        unpaid[i][2] := coalesce(due_interest_amounts[i], 0) - coalesce(due_interest_amounts[i - 1], 0);
        unpaid[i][3] := coalesce(due_fee_amounts[i], 0) - coalesce(due_fee_amounts[i - 1], 0);
        unpaid[i][4] := coalesce(due_penalty_amounts[i], 0) - coalesce(due_penalty_amounts[i - 1], 0);
    end loop;

    for event in
        -- On one day claims come due (1), credit that stands pays them (2), charges lapse (3), bookings count (4). The
        -- day after a due date brings nothing but that the claim is past due (0); the last event is beyond all days.
        select d.due_on as event_on, 1 as step, d.position::integer as position
        from unnest(claims_due_on) with ordinality as d (due_on, position)
        union all
        select distinct s.due_on, 2, 0 from unnest(claims_due_on) as s (due_on)
        union all
        select distinct p.due_on + 1, 0, 0 from unnest(claims_due_on) as p (due_on)
        union all
        select l.lapses_on, 3, l.position::integer
        from unnest(claims_lapse_on) with ordinality as l (lapses_on, position)
        where l.lapses_on is not null
        union all
        select b.booked_on, 4, b.position::integer
        from unnest(bookings_on) with ordinality as b (booked_on, position)
        union all
        select from_on, 0, 0
        union all
        select date 'infinity', 0, 0
        order by event_on, step, position
    loop
        if event.event_on > state_day and state_day >= from_on then
            state_on := state_day;
            oldest_unpaid_due_on := null;
            instalments_past_due := 0;
            arrears_principal_amount := 0;
            arrears_interest_amount := 0;
            arrears_fee_amount := 0;
            arrears_penalty_amount := 0;
            unpaid_principal_amount := 0;
            unpaid_other_amount := 0;
            for i in first_open..due_count loop
                rest := unpaid[i][2] + unpaid[i][3] + unpaid[i][4];
                unpaid_principal_amount := unpaid_principal_amount + unpaid[i][1];
                unpaid_other_amount := unpaid_other_amount + rest;
                if claims_due_on[i] < state_day and unpaid[i][1] + rest > 0 then
                    oldest_unpaid_due_on := coalesce(oldest_unpaid_due_on, claims_due_on[i]);
                    instalments_past_due := instalments_past_due
                        + instalment_counts[i] - coalesce(instalment_counts[i - 1], 0);
                    arrears_principal_amount := arrears_principal_amount + unpaid[i][1];
                    arrears_interest_amount := arrears_interest_amount + unpaid[i][2];
                    arrears_fee_amount := arrears_fee_amount + unpaid[i][3];
                    arrears_penalty_amount := arrears_penalty_amount + unpaid[i][4];
                end if;
            end loop;
            standing_amount := standing;
            return next;
        end if;
        state_day := event.event_on;
        exit when state_day >= until_on;
        available := 0;

        if event.step = 1 then
            due_count := event.position;
            due_amount := due_amount
                + unpaid[due_count][1] + unpaid[due_count][2] + unpaid[due_count][3] + unpaid[due_count][4];

        elsif event.step = 2 then
            if not is_revolving then
                available := standing;
                standing := 0;
            end if;

        elsif event.step = 3 then
            for i in 1..4 loop
                waived_amount := waived_amount + unpaid[event.position][i];
                unpaid[event.position][i] := 0;
            end loop;

        elsif event.step = 4 then
            if booking_kinds[event.position] = 'credit' then
                available := booking_amounts[event.position];
                credited_amount := credited_amount + available;
                if not is_revolving then
                    available := available + standing;
                    standing := 0;
                end if;

            elsif booking_kinds[event.position] = 'waiver' then
                rest := booking_amounts[event.position];
                component := array_position(component_names, booking_components[event.position]);
                for i in first_open..due_count loop
                    exit when rest = 0;
                    part := least(rest, unpaid[i][component]);
                    waived_amount := waived_amount + part;
                    unpaid[i][component] := unpaid[i][component] - part;
                    rest := rest - part;
                end loop;

            elsif booking_amounts[event.position] > standing + paid_amount then
                -- More than was paid: no refund can be that; it counts as never made and the caller holds the loan back.
                refused_refund_count := refused_refund_count + 1;

            else
                part := least(standing, booking_amounts[event.position]);
                standing := standing - part;
                rest := booking_amounts[event.position] - part;
                refunded_amount := refunded_amount + booking_amounts[event.position];
                for i in reverse due_count..1 loop
                    exit when rest = 0;
                    for place in reverse 4..1 loop
                        component := component_order[place];
                        part := least(rest, paid[i][component]);
                        paid[i][component] := paid[i][component] - part;
                        unpaid[i][component] := unpaid[i][component] + part;
                        paid_amount := paid_amount - part;
                        rest := rest - part;
                    end loop;
                end loop;
                first_open := 1;
            end if;
        end if;

        continue when available = 0;

        if is_component_first then
            for place in 1..4 loop
                for i in first_open..due_count loop
                    exit when available = 0;
                    component := component_order[place];
                    part := least(available, unpaid[i][component]);
                    paid[i][component] := paid[i][component] + part;
                    unpaid[i][component] := unpaid[i][component] - part;
                    paid_amount := paid_amount + part;
                    available := available - part;
                end loop;
            end loop;
        else
            for i in first_open..due_count loop
                exit when available = 0;
                for place in 1..4 loop
                    component := component_order[place];
                    part := least(available, unpaid[i][component]);
                    paid[i][component] := paid[i][component] + part;
                    unpaid[i][component] := unpaid[i][component] - part;
                    paid_amount := paid_amount + part;
                    available := available - part;
                end loop;
            end loop;
        end if;

        standing := standing + available;
        while
            first_open <= due_count
            and unpaid[first_open][1] + unpaid[first_open][2] + unpaid[first_open][3] + unpaid[first_open][4] = 0
        loop
            first_open := first_open + 1;
        end loop;
    end loop;
end
$replay$;
{%- endmacro -%}
