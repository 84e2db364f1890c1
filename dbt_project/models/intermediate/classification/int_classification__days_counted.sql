{# Days on a day x of a row: x - counted_from; frozen rows stand at days_frozen. A row without a rule book holds
   for every book that does not suspend the loan's count; for the beside the stretches are cut at the suspension's
   ends. What falls due on D and is unpaid is no day past due yet; a book that counts by day's end counts it as the
   first. #}
{{ config(materialized='view') }}

with late as (
    select * from {{ ref('int_classification__days_late') }}
),

loans as (
    select * from {{ ref('int_classification__loans_described') }}
),

positions as (
    select * from {{ ref('int_delinquency__loans_positioned') }}
),

stated as (
    select * from {{ ref('int_delinquency__loans_stated') }}
),

balances as (
    select * from {{ ref('stg_servicing__servicer_balances') }}
),

suspended as (
    select * from {{ ref('int_classification__days_suspended') }}
),

material as (
    select * from {{ ref('int_classification__days_material') }}
),

except_books as (
    select
        loan_id,
        '|' || string_agg(distinct rule_book, '|' order by rule_book) || '|' as rule_books
    from suspended
    group by loan_id
),

past_due as (
    select
        late.loan_id,
        late.valid_from,
        late.valid_to,
        late.oldest_unpaid_due_on as counted_from,
        late.is_latest,
        late.borrower_id,
        late.exposure_class,
        late.product,
        late.loan_to_value_ratio,
        except_books.rule_books as except_books
    from late
    left join except_books on late.loan_id = except_books.loan_id
    where late.oldest_unpaid_due_on is not null
),

due_today as (
    select
        positions.loan_id,
        {{ as_of_date() }} as valid_from,
        {{ as_of_date() }} as valid_to,
        coalesce(stated.oldest_unpaid_due_on, {{ as_of_date() }}) as counted_from
    from positions
    inner join stated on positions.loan_id = stated.loan_id
    where
        positions.days_past_due = 0
        and positions.unpaid_due_amount > positions.tolerance_amount
),

{# The servicing system says since when a limit has been exceeded without break. #}
excesses_stated as (
    select
        balances.loan_id,
        balances.balance_on,
        balances.in_excess_since,
        lead(balances.balance_on) over (partition by balances.loan_id order by balances.balance_on) as next_on
    from balances
    where balances.balance_on <= {{ as_of_date() }}
),

in_excess as (
    select
        loan_id,
        in_excess_since as valid_from,
        max(coalesce(next_on - 1, {{ as_of_date() }})) as valid_to,
        in_excess_since as counted_from
    from excesses_stated
    where in_excess_since <= balance_on
    group by loan_id, in_excess_since
),

books_suspended as (
    select distinct
        rule_book,
        loan_id
    from suspended
),

cuts as (
    select
        rule_book,
        loan_id,
        valid_from as cut_on
    from suspended
    union
    select
        rule_book,
        loan_id,
        valid_to + 1 as cut_on
    from suspended
),

points as (
    select
        books_suspended.rule_book,
        past_due.loan_id,
        past_due.valid_from,
        past_due.valid_to,
        past_due.counted_from,
        past_due.valid_from as cut_on
    from past_due
    inner join books_suspended on past_due.loan_id = books_suspended.loan_id
    union
    select
        cuts.rule_book,
        past_due.loan_id,
        past_due.valid_from,
        past_due.valid_to,
        past_due.counted_from,
        cuts.cut_on
    from past_due
    inner join cuts
        on
            past_due.loan_id = cuts.loan_id
            and past_due.valid_from < cuts.cut_on
            and past_due.valid_to >= cuts.cut_on
),

pieces as (
    select
        rule_book,
        loan_id,
        counted_from,
        cut_on as valid_from,
        lead(cut_on, 1, valid_to + 1) over (
            partition by rule_book, loan_id, valid_from
            order by cut_on
        ) - 1 as valid_to
    from points
),

pieces_counted as (
    select
        pieces.rule_book,
        pieces.loan_id,
        pieces.counted_from,
        pieces.valid_from,
        pieces.valid_to,
        coalesce(bool_or(pieces.valid_from between suspended.valid_from and suspended.valid_to), false) as is_frozen,
        coalesce(sum(
            greatest(
                least(suspended.valid_to, pieces.valid_from - 1)
                - greatest(suspended.valid_from, pieces.counted_from + 1) + 1, 0
            )
        ), 0) as suspended_days
    from pieces
    left join suspended
        on
            pieces.rule_book = suspended.rule_book
            and pieces.loan_id = suspended.loan_id
    group by pieces.rule_book, pieces.loan_id, pieces.counted_from, pieces.valid_from, pieces.valid_to
),

{# The few that stand beside the stretches: their loan's attributes are joined to them. #}
beside as (
    select
        cast(null as text) as rule_book,
        'days_past_due' as counter,
        loan_id,
        valid_from,
        valid_to,
        counted_from,
        cast(null as integer) as days_frozen
    from due_today
    union all
    select
        cast(null as text) as rule_book,
        'days_in_excess' as counter,
        loan_id,
        valid_from,
        valid_to,
        counted_from,
        cast(null as integer) as days_frozen
    from in_excess
    union all
    select
        rule_book,
        'days_past_due' as counter,
        loan_id,
        valid_from,
        valid_to,
        case when not is_frozen then counted_from + cast(suspended_days as integer) end as counted_from,
        case when is_frozen then valid_from - 1 - counted_from - cast(suspended_days as integer) end as days_frozen
    from pieces_counted
    union all
    select
        rule_book,
        counter,
        loan_id,
        valid_from,
        valid_to,
        counted_from,
        days_frozen
    from material
),

final as (
    select
        cast(null as text) as rule_book,
        except_books,
        'days_past_due' as counter,
        loan_id,
        valid_from,
        valid_to,
        counted_from,
        cast(null as integer) as days_frozen,
        is_latest,
        borrower_id,
        exposure_class,
        product,
        loan_to_value_ratio
    from past_due
    union all
    select
        beside.rule_book,
        cast(null as text) as except_books,
        beside.counter,
        beside.loan_id,
        beside.valid_from,
        beside.valid_to,
        beside.counted_from,
        beside.days_frozen,
        true as is_latest,
        loans.borrower_id,
        loans.exposure_class,
        loans.product,
        loans.loan_to_value_ratio
    from beside
    inner join loans on beside.loan_id = loans.loan_id
)

select * from final
