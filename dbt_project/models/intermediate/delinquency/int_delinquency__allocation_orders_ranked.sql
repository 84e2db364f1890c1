{# Components that a loan's order does not name come last, in the order penalty, fee, interest, principal. #}
with loans as (
    select * from {{ ref('stg_servicing__loans') }}
),

orders as (
    select distinct allocation_order
    from loans
),

named as (
    select
        allocation_order,
        string_to_array(
            lower(replace(allocation_order, ' ', '')) || '>penalty>fee>interest>principal', '>'
        ) as components
    from orders
),

positioned as (
    select
        allocation_order,
        array_position(components, 'principal') as principal_position,
        array_position(components, 'interest') as interest_position,
        array_position(components, 'fee') as fee_position,
        array_position(components, 'penalty') as penalty_position
    from named
),

ranked as (
    select
        allocation_order,
        1 + cast(interest_position < principal_position as integer)
        + cast(fee_position < principal_position as integer)
        + cast(penalty_position < principal_position as integer) as principal_rank,
        1 + cast(principal_position < interest_position as integer)
        + cast(fee_position < interest_position as integer)
        + cast(penalty_position < interest_position as integer) as interest_rank,
        1 + cast(principal_position < fee_position as integer)
        + cast(interest_position < fee_position as integer)
        + cast(penalty_position < fee_position as integer) as fee_rank,
        1 + cast(principal_position < penalty_position as integer)
        + cast(interest_position < penalty_position as integer)
        + cast(fee_position < penalty_position as integer) as penalty_rank
    from positioned
),

final as (
    select
        allocation_order,
        principal_rank,
        interest_rank,
        fee_rank,
        penalty_rank
    from ranked
)

select * from final
