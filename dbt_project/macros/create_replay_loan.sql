{#- The function that replays one loan claim by claim and booking by booking, where set-based SQL cannot: waivers, refunds,
    charges that lapse partly paid, component_first. It reads no table: all it knows are its arguments, so it gives the
    same answer whenever it is called.

    Claims come in the order in which they are paid, bookings in the order in which they count (kinds credit, waiver,
    refund). claim_amounts holds a row for each claim: principal, interest,
    fee, penalty; component_ranks says for each of the four which place it has in the order of payment, 1 to 4.
    Gives a row for each claim, and a first row (claim_position 0) with what the loan has standing as credit. -#}
{%- macro create_replay_loan() -%}
drop function if exists working.replay_loan;

create function working.replay_loan(
    is_component_first boolean,
    is_revolving boolean,
    component_ranks integer [],
    claims_due_on date [],
    claims_lapse_on date [],
    claim_amounts numeric [] [],
    bookings_on date [],
    booking_kinds text [],
    booking_components text [],
    booking_amounts numeric []
) returns table (
    claim_position integer,
    unpaid_principal_amount numeric,
    unpaid_interest_amount numeric,
    unpaid_fee_amount numeric,
    unpaid_penalty_amount numeric,
    paid_amount numeric,
    waived_amount numeric,
    credit_amount numeric,
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
    unpaid numeric [] [] := claim_amounts;
    paid numeric [] [] := array_fill(0::numeric, array[claim_count, 4]);
    waived numeric [] := array_fill(0::numeric, array[claim_count]);
    paid_in_all numeric := 0;
    standing numeric := 0;      -- credit that pays claims to come; revolving: what reduced the balance only
    due_count integer := 0;     -- claims 1 to due_count are due
    first_open integer := 1;    -- before it nothing is unpaid
    refused integer := 0;
    event record;
    available numeric;          -- what an event brings to pay claims with
    rest numeric;
    part numeric;
    component integer;
begin
    for event in
        -- On one day claims come due (1), credit that stands pays them (2), charges lapse (3), bookings count (4).
        select d.due_on as event_on, 1 as step, d.position::integer as position
        from unnest(claims_due_on) with ordinality as d (due_on, position)
        union all
        select distinct s.due_on, 2, 0 from unnest(claims_due_on) as s (due_on)
        union all
        select l.lapses_on, 3, l.position::integer
        from unnest(claims_lapse_on) with ordinality as l (lapses_on, position)
        where l.lapses_on is not null
        union all
        select b.booked_on, 4, b.position::integer
        from unnest(bookings_on) with ordinality as b (booked_on, position)
        order by event_on, step, position
    loop
        available := 0;

        if event.step = 1 then
            due_count := event.position;

        elsif event.step = 2 then
            if not is_revolving then
                available := standing;
                standing := 0;
            end if;

        elsif event.step = 3 then
            for i in 1..4 loop
                waived[event.position] := waived[event.position] + unpaid[event.position][i];
                unpaid[event.position][i] := 0;
            end loop;

        elsif booking_kinds[event.position] = 'credit' then
            available := booking_amounts[event.position];
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
                waived[i] := waived[i] + part;
                unpaid[i][component] := unpaid[i][component] - part;
                rest := rest - part;
            end loop;

        elsif booking_amounts[event.position] > standing + paid_in_all then
            -- More than was paid: no refund can be that; it counts as never made and the caller holds the loan back.
            refused := refused + 1;

        else
            part := least(standing, booking_amounts[event.position]);
            standing := standing - part;
            rest := booking_amounts[event.position] - part;
            for i in reverse due_count..1 loop
                exit when rest = 0;
                for place in reverse 4..1 loop
                    component := component_order[place];
                    part := least(rest, paid[i][component]);
                    paid[i][component] := paid[i][component] - part;
                    unpaid[i][component] := unpaid[i][component] + part;
                    paid_in_all := paid_in_all - part;
                    rest := rest - part;
                end loop;
            end loop;
            first_open := 1;
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
                    paid_in_all := paid_in_all + part;
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
                    paid_in_all := paid_in_all + part;
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

    claim_position := 0;
    credit_amount := case when is_revolving then 0 else standing end;
    refused_refund_count := refused;
    return next;

    credit_amount := null;
    refused_refund_count := null;
    for i in 1..claim_count loop
        claim_position := i;
        unpaid_principal_amount := unpaid[i][1];
        unpaid_interest_amount := unpaid[i][2];
        unpaid_fee_amount := unpaid[i][3];
        unpaid_penalty_amount := unpaid[i][4];
        paid_amount := paid[i][1] + paid[i][2] + paid[i][3] + paid[i][4];
        waived_amount := waived[i];
        return next;
    end loop;
end
$replay$;
{%- endmacro -%}
