{#- The tables in which the step assign_agencies leaves its decisions. They are stated here alone: Python only fills them,
    and models can be built before it ever did. -#}
{%- macro create_decision_tables() -%}
create table if not exists working.solver_assignments (
    as_of_date date not null,
    loan_id text primary key,
    agency_id text not null,
    contract_id text not null,
    expected_net_amount numeric(20, 4) not null check (expected_net_amount > 0),
    is_new boolean not null,
    reason text not null
);

create table if not exists working.solver_run (
    as_of_date date primary key,
    loan_count bigint not null,
    assigned_count bigint not null,
    objective_amount numeric(20, 4) not null,
    upper_bound_amount numeric(20, 4) not null,
    gap_share numeric(9, 8) not null,
    missed_promise_count bigint not null,
    solver text not null
);
{%- endmacro -%}
