{# The worst class that holds a loan at D, since when, and why. Within a class: what holds at D, else what was held
   on to. A class that is left by degrees goes on after the next worse one: its own months follow those of the
   worse. #}
{{ config(pre_hook=hash_joins_only()) }}

with states as (
    select * from {{ ref('int_classification__states_held') }}
),

grounds as (
    select * from {{ ref('int_classification__grounds') }}
),

contagion_spread as (
    select * from {{ ref('int_classification__contagion_spread') }}
),

classes as (
    select * from {{ ref('int_classification__book_classes') }}
),

segments as (
    select * from {{ ref('int_classification__book_segments') }}
),

cures as (
    select * from {{ ref('int_classification__book_cures') }}
),

ageing as (
    select * from {{ ref('int_classification__book_ageing') }}
),

thresholds as (
    select * from {{ ref('int_classification__book_day_thresholds') }}
),

triggers as (
    select * from {{ ref('int_classification__book_triggers') }}
),

contagion as (
    select * from {{ ref('int_classification__book_contagion') }}
),

materiality as (
    select * from {{ ref('int_classification__book_materiality') }}
),

suspensions as (
    select * from {{ ref('int_classification__book_suspensions') }}
),

loans as (
    select * from {{ ref('int_classification__loans_described') }}
    where has_position
),

aged as (
    select
        states.rule_book,
        states.loan_id,
        ageing.aged_class_rank as class_rank,
        ageing.rule_number,
        {{ months_after('states.valid_from', 'ageing.months') }} as valid_from,
        least(states.held_to, {{ as_of_date() }}) as valid_to
    from states
    inner join ageing
        on
            states.rule_book = ageing.rule_book
            and states.class_rank = ageing.class_rank
    where {{ months_after('states.valid_from', 'ageing.months') }} <= least(states.held_to, {{ as_of_date() }})
),

holding as (
    select
        rule_book,
        loan_id,
        class_rank,
        'days' as rule_kind,
        rule_number,
        valid_from,
        valid_to,
        source_loan_id
    from grounds
    where rule_kind = 'days'
    union all
    select
        rule_book,
        loan_id,
        class_rank,
        'trigger' as rule_kind,
        rule_number,
        valid_from,
        valid_to,
        source_loan_id
    from grounds
    where rule_kind = 'trigger'
    union all
    select
        rule_book,
        loan_id,
        class_rank,
        'contagion' as rule_kind,
        rule_number,
        valid_from,
        valid_to,
        source_loan_id
    from contagion_spread
    union all
    select
        rule_book,
        loan_id,
        class_rank,
        'ageing' as rule_kind,
        rule_number,
        valid_from,
        valid_to,
        cast(null as text) as source_loan_id
    from aged
),

{# The months of the classes between: each begins when the worse one has been left. #}
degrees as (
    select
        worse.rule_book,
        worse.class_rank as from_rank,
        better.class_rank as to_rank,
        sum(between_them.months) as months
    from cures as worse
    inner join cures as better
        on
            worse.rule_book = better.rule_book
            and worse.class_rank > better.class_rank
    inner join cures as between_them
        on
            worse.rule_book = between_them.rule_book
            and worse.class_rank > between_them.class_rank
            and better.class_rank <= between_them.class_rank
    where better.months > 0
    group by worse.rule_book, worse.class_rank, better.class_rank
),

spells as (
    select
        rule_book,
        loan_id,
        class_rank,
        valid_from,
        valid_to,
        valid_to as held_to,
        false as is_open
    from holding
    union all
    select
        rule_book,
        loan_id,
        class_rank,
        valid_from,
        last_ground_on as valid_to,
        held_to,
        is_open
    from states
    union all
    select
        states.rule_book,
        states.loan_id,
        degrees.to_rank as class_rank,
        states.valid_from,
        states.held_to as valid_to,
        {{ months_after('states.held_to + 1', 'degrees.months') }} - 1 as held_to,
        states.is_open
    from states
    inner join degrees
        on
            states.rule_book = degrees.rule_book
            and states.class_rank = degrees.from_rank
),

standing as (
    select
        rule_book,
        loan_id,
        max(class_rank) filter (
            where {{ as_of_date() }} between valid_from and held_to
        ) as class_rank
    from spells
    group by rule_book, loan_id
),

{# The spells of the class that holds, joined, to see since when. #}
standing_spells as (
    select
        spells.rule_book,
        spells.loan_id,
        spells.class_rank,
        spells.valid_from,
        spells.valid_to,
        spells.held_to,
        spells.is_open,
        true as is_entry
    from spells
    inner join standing
        on
            spells.rule_book = standing.rule_book
            and spells.loan_id = standing.loan_id
            and spells.class_rank = standing.class_rank
),

standing_joined as (
    {{ spells_joined('standing_spells', ['rule_book', 'loan_id', 'class_rank']) }}
),

left_behind as (
    select
        spells.rule_book,
        spells.loan_id,
        max(spells.held_to) as worse_to
    from spells
    inner join standing
        on
            spells.rule_book = standing.rule_book
            and spells.loan_id = standing.loan_id
    where standing.class_rank is null or spells.class_rank > standing.class_rank
    group by spells.rule_book, spells.loan_id
),

{# What holds at D for the class that stands: since when each ground has held without break. #}
reasons_holding as (
    select
        holding.rule_book,
        holding.loan_id,
        holding.rule_kind,
        holding.rule_number,
        holding.source_loan_id,
        holding.valid_from,
        holding.valid_to,
        holding.valid_to as held_to,
        true as is_entry,
        false as is_open
    from holding
    inner join standing
        on
            holding.rule_book = standing.rule_book
            and holding.loan_id = standing.loan_id
            and holding.class_rank = standing.class_rank
),

reasons_joined as (
    {{ spells_joined('reasons_holding', ['rule_book', 'loan_id', 'rule_kind', 'rule_number', 'source_loan_id']) }}
),

{# A loan's own ground needs no other loan's beside it; of several others the first is named. #}
reasons_named as (
    select distinct on (rule_book, loan_id, rule_kind, rule_number)
        rule_book,
        loan_id,
        rule_kind,
        rule_number,
        nullif(source_loan_id, loan_id) as source_loan_id,
        valid_from
    from reasons_joined
    where held_to = {{ as_of_date() }}
    order by rule_book asc, loan_id asc, rule_kind asc, rule_number asc, source_loan_id asc nulls first
),

wordings as (
    select
        'days' as rule_kind,
        rule_number,
        reason
    from thresholds
    union all
    select
        'trigger' as rule_kind,
        rule_number,
        reason
    from triggers
    union all
    select
        'contagion' as rule_kind,
        rule_number,
        reason
    from contagion
    union all
    select
        'ageing' as rule_kind,
        rule_number,
        reason
    from ageing
),

reasons_worded as (
    select
        reasons_named.rule_book,
        reasons_named.loan_id,
        string_agg(
            wordings.reason || ' since ' || reasons_named.valid_from
            || coalesce(' (loan ' || reasons_named.source_loan_id || ')', ''),
            '; '
            order by reasons_named.valid_from, reasons_named.rule_kind, reasons_named.rule_number
        ) as reason
    from reasons_named
    inner join wordings
        on
            reasons_named.rule_kind = wordings.rule_kind
            and reasons_named.rule_number = wordings.rule_number
    group by reasons_named.rule_book, reasons_named.loan_id
),

rules as (
    select
        rule_book,
        rules_since_on
    from classes
    union all
    select
        rule_book,
        rules_since_on
    from segments
    union all
    select
        rule_book,
        rules_since_on
    from thresholds
    union all
    select
        rule_book,
        rules_since_on
    from triggers
    union all
    select
        rule_book,
        rules_since_on
    from contagion
    union all
    select
        rule_book,
        rules_since_on
    from cures
    union all
    select
        rule_book,
        rules_since_on
    from ageing
    union all
    select
        rule_book,
        rules_since_on
    from materiality
    union all
    select
        rule_book,
        rules_since_on
    from suspensions
),

versions as (
    select
        rule_book,
        max(rules_since_on) as rules_since_on
    from rules
    group by rule_book
),

{# Most loans have nothing against them: what was found of the others is put together before it is joined to all. #}
found as (
    select
        standing.rule_book,
        standing.loan_id,
        standing.class_rank,
        greatest(standing_joined.valid_from, left_behind.worse_to + 1) as since_on,
        standing_joined.last_ground_on,
        case when not standing_joined.is_open then standing_joined.held_to + 1 end as exit_on,
        reasons_worded.reason
    from standing
    left join standing_joined
        on
            standing.rule_book = standing_joined.rule_book
            and standing.loan_id = standing_joined.loan_id
            and standing_joined.held_to >= {{ as_of_date() }}
    left join left_behind
        on
            standing.rule_book = left_behind.rule_book
            and standing.loan_id = left_behind.loan_id
    left join reasons_worded
        on
            standing.rule_book = reasons_worded.rule_book
            and standing.loan_id = reasons_worded.loan_id
),

covered as (
    select
        segments.rule_book,
        segments.is_in_force,
        loans.loan_id,
        loans.disbursed_on,
        found.since_on,
        found.last_ground_on,
        found.exit_on,
        found.reason,
        coalesce(found.class_rank, 0) as class_rank
    from loans
    inner join segments on loans.exposure_class = segments.exposure_class
    left join found
        on
            segments.rule_book = found.rule_book
            and loans.loan_id = found.loan_id
),

final as (
    select
        covered.loan_id,
        covered.rule_book,
        classes.class,
        classes.label as class_label,
        greatest(covered.disbursed_on, covered.since_on) as since_on,
        case when covered.class_rank > 0 and covered.reason is null then covered.exit_on end as earliest_exit_on,
        versions.rules_since_on,
        covered.class_rank > 0 and covered.reason is null as is_in_probation,
        covered.is_in_force,
        covered.class_rank,
        case
            when covered.class_rank = 0 then 'No ground for a worse class.'
            when covered.reason is not null then covered.reason || '.'
            else
                coalesce(cures.reason, classes.label) || '; last ground on ' || covered.last_ground_on
                || coalesce(', left on ' || covered.exit_on || ' at the earliest', '') || '.'
        end as reason
    from covered
    inner join classes
        on
            covered.rule_book = classes.rule_book
            and covered.class_rank = classes.class_rank
    inner join versions on covered.rule_book = versions.rule_book
    left join cures
        on
            covered.rule_book = cures.rule_book
            and covered.class_rank = cures.class_rank
)

select * from final
