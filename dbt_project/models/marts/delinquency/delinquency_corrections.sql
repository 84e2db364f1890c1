{# What went out and would have read otherwise by what is known since. Of the loans whose rows changed between the last
   exported day and D, the life as it was known then is set beside the life as known now; where the two part on exported
   days, those days are listed. What a day read when it went out is told by its first correction, where it had one. #}
{% set tables = ['loans', 'instalments', 'charges', 'transactions', 'forbearances'] %}

with exports as (
    {{ exported_before(source('ops', 'exports')) }}
),

batches as (
    select * from {{ source('ops', 'batches') }}
),

history as (
    select * from {{ ref('loan_delinquency_history') }}
),

loans as (
    select * from {{ source('servicing', 'loans') }}
),

forbearances as (
    select * from {{ source('servicing', 'forbearances') }}
),

corrections as (
    select * from {{ source('published', 'delinquency_corrections') }}
),

queues as (
    select * from {{ source('published', 'collection_queue') }}
),

exported_days as (
    select distinct as_of_date from exports
),

span as (
    select max(as_of_date) as known_before_on from exported_days
),

batches_between as (
    select batches.batch_id
    from batches
    where
        batches.state = 'accepted'
        and batches.known_from > (select span.known_before_on from span)
        and batches.known_from <= {{ as_of_date() }}
),

changed as (
    {% for table in tables %}
    {{ 'union all' if not loop.first }}
    {{ changed_rows(
        table, '(select span.known_before_on from span)', as_of_date(), 'batches_between'
    ) }}
    {% endfor %}
),

loans_changed as (
    select
        loan_id,
        case
            when count(distinct kind) > 1 then 'several'
            else min(kind)
        end as cause,
        bool_or(kind in ('pause', 'terms')) as may_change_days_alone
    from (
        select
            loan_id,
            case
                when kind = 'loans' then 'terms'
                when kind = 'instalments' then 'schedule'
                when kind = 'charges' then 'charge'
                when kind = 'forbearances' then 'pause'
                when kind = 'reversal' then 'reversal'
                else 'booking'
            end as kind
        from changed
        where
            kind = 'reversal'
            or bears_from is null
            or bears_from <= (select span.known_before_on from span)
    ) as kinds
    group by loan_id
),

loans_numbered as (
    select
        loan_id,
        row_number() over (order by loan_id) / 200 as list_number
    from loans_changed
),

{# The function looks up each loan of its list by indexes, and sets the list's lives beside one another: short lists. #}
candidates as (
    select
        span.known_before_on,
        array_agg(loans_numbered.loan_id) as loan_ids
    from span
    cross join loans_numbered
    group by span.known_before_on, loans_numbered.list_number
),

stretches_then as (
    select
        stretches.loan_id,
        stretches.valid_from,
        least(coalesce(stretches.valid_to, candidates.known_before_on), candidates.known_before_on) as valid_to,
        stretches.oldest_unpaid_due_on,
        stretches.arrears_amount
    from candidates
    cross join lateral working.delinquency_history_at(
        candidates.known_before_on, candidates.known_before_on, candidates.loan_ids
    ) as stretches
),

stretches_now as (
    select
        history.loan_id,
        history.valid_from,
        least(
            coalesce(history.valid_to, cast('infinity' as date)), (select span.known_before_on from span)
        ) as valid_to,
        history.oldest_unpaid_due_on,
        history.arrears_amount
    from history
    inner join loans_changed on history.loan_id = loans_changed.loan_id
    where history.valid_from <= (select span.known_before_on from span)
),

edges as (
    select
        loan_id,
        valid_from as begins_on
    from stretches_then
    union
    select
        loan_id,
        valid_to + 1 as begins_on
    from stretches_then
    union
    select
        loan_id,
        valid_from as begins_on
    from stretches_now
    union
    select
        loan_id,
        valid_to + 1 as begins_on
    from stretches_now
),

segments as (
    select
        loan_id,
        begins_on,
        lead(begins_on) over (partition by loan_id order by begins_on) - 1 as ends_on
    from edges
),

segments_compared as (
    select
        segments.loan_id,
        segments.begins_on,
        segments.ends_on,
        loans_changed.cause,
        stretches_then.loan_id is not null as had_state_then,
        stretches_now.loan_id is not null as has_state_now,
        stretches_then.oldest_unpaid_due_on as oldest_then_on,
        stretches_now.oldest_unpaid_due_on as oldest_now_on,
        stretches_then.arrears_amount as arrears_then_amount,
        stretches_now.arrears_amount as arrears_now_amount
    from segments
    inner join loans_changed on segments.loan_id = loans_changed.loan_id
    left join stretches_then
        on
            segments.loan_id = stretches_then.loan_id
            and segments.begins_on between stretches_then.valid_from and stretches_then.valid_to
    left join stretches_now
        on
            segments.loan_id = stretches_now.loan_id
            and segments.begins_on between stretches_now.valid_from and stretches_now.valid_to
    where
        segments.ends_on is not null
        and (
            loans_changed.may_change_days_alone
            or (stretches_then.loan_id is null) <> (stretches_now.loan_id is null)
            or stretches_then.oldest_unpaid_due_on is distinct from stretches_now.oldest_unpaid_due_on
            or coalesce(stretches_then.arrears_amount, 0) <> coalesce(stretches_now.arrears_amount, 0)
        )
),

{# Pauses and grace as known then and as known now; pauses that overlap count once. #}
{% for time, known_on in [('then', '(select span.known_before_on from span)'), ('now', as_of_date())] %}
pauses_{{ time }} as (
    select
        forbearances.loan_id,
        range_agg(daterange(forbearances.starts_on, forbearances.ends_on, '[)')) as paused_on
    from forbearances
    inner join loans_changed on forbearances.loan_id = loans_changed.loan_id
    where
        forbearances.kind = 'delinquency_pause'
        and (forbearances.ends_on is null or forbearances.ends_on > forbearances.starts_on)
        and forbearances._known_from <= {{ known_on }}
        and (forbearances._known_to is null or forbearances._known_to > {{ known_on }})
    group by forbearances.loan_id
),

grace_{{ time }} as (
    select
        loans.loan_id,
        loans.grace_days
    from loans
    inner join loans_changed on loans.loan_id = loans_changed.loan_id
    where
        loans._known_from <= {{ known_on }}
        and (loans._known_to is null or loans._known_to > {{ known_on }})
),

{% endfor %}
days_compared as (
    select
        exported_days.as_of_date,
        segments_compared.loan_id,
        segments_compared.cause,
        segments_compared.had_state_then,
        segments_compared.has_state_now,
        coalesce(segments_compared.arrears_then_amount, 0) as arrears_then_amount,
        coalesce(segments_compared.arrears_now_amount, 0) as arrears_now_amount,
    {% for time in ['then', 'now'] %}
    coalesce(grace_{{ time }}.grace_days, 0) as grace_days_{{ time }},
    coalesce(exported_days.as_of_date - segments_compared.oldest_{{ time }}_on, 0) as days_past_due_{{ time }},
    (
        select coalesce(sum(upper(stretches.days) - lower(stretches.days)), 0)
        from
            unnest(
                pauses_{{ time }}.paused_on * datemultirange(
                    daterange(segments_compared.oldest_{{ time }}_on, exported_days.as_of_date, '[)')
                )
            ) as stretches (days)
        where segments_compared.oldest_{{ time }}_on is not null
    ) as days_paused_{{ time }}{{ ',' if not loop.last }}
    {% endfor %}
    from segments_compared
    inner join exported_days
        on exported_days.as_of_date between segments_compared.begins_on and segments_compared.ends_on
    {% for time in ['then', 'now'] %}
    left join pauses_{{ time }} on segments_compared.loan_id = pauses_{{ time }}.loan_id
    left join grace_{{ time }} on segments_compared.loan_id = grace_{{ time }}.loan_id
    {% endfor %}
),

counted as (
    select
        as_of_date,
        loan_id,
        cause,
        had_state_then,
        has_state_now,
    {% for time in ['then', 'now'] %}
    days_past_due_{{ time }},
    greatest(days_past_due_{{ time }} - days_paused_{{ time }} - grace_days_{{ time }}, 0)
        as days_delinquent_{{ time }},
    arrears_{{ time }}_amount{{ ',' if not loop.last }}
    {% endfor %}
    from days_compared
),

{# A day is corrected twice where a correction is corrected: what it read when it went out is in the first. #}
first_corrections as (
    select distinct on (corrections.as_of_date, corrections.loan_id)
        corrections.as_of_date,
        corrections.loan_id,
        corrections.days_past_due_then,
        corrections.days_delinquent_then,
        corrections.arrears_then_amount
    from corrections
    inner join exported_days on corrections.known_on = exported_days.as_of_date
    order by corrections.as_of_date asc, corrections.loan_id asc, corrections.known_on asc
),

queued as (
    select distinct
        as_of_date,
        loan_id
    from queues
),

final as (
    select
        {{ as_of_date() }} as known_on,
        counted.as_of_date,
        counted.loan_id,
        queued.loan_id is not null as was_exported,
        case
            when first_corrections.loan_id is not null then first_corrections.days_past_due_then
            when counted.had_state_then then counted.days_past_due_then
        end as days_past_due_then,
        case when counted.has_state_now then counted.days_past_due_now end as days_past_due_now,
        case
            when first_corrections.loan_id is not null then first_corrections.days_delinquent_then
            when counted.had_state_then then cast(counted.days_delinquent_then as integer)
        end as days_delinquent_then,
        cast(case when counted.has_state_now then counted.days_delinquent_now end as integer) as days_delinquent_now,
        cast(
            case
                when first_corrections.loan_id is not null then first_corrections.arrears_then_amount
                when counted.had_state_then then counted.arrears_then_amount
            end as numeric(20, 4)
        ) as arrears_then_amount,
        cast(case when counted.has_state_now then counted.arrears_now_amount end as numeric(20, 4))
            as arrears_now_amount,
        counted.cause
    from counted
    left join first_corrections
        on
            counted.as_of_date = first_corrections.as_of_date
            and counted.loan_id = first_corrections.loan_id
    left join queued
        on
            counted.as_of_date = queued.as_of_date
            and counted.loan_id = queued.loan_id
    where
        counted.days_past_due_then <> counted.days_past_due_now
        or counted.days_delinquent_then <> counted.days_delinquent_now
        or counted.arrears_then_amount <> counted.arrears_now_amount
        {# A state that is lost is listed although it was nothing, so that what the day read is told; one that comes
           back is listed to end that. A loan that is known a little late and owes nothing is not. #}
        or (counted.had_state_then and not counted.has_state_now)
        or (counted.has_state_now and not counted.had_state_then and first_corrections.loan_id is not null)
)

select * from final
