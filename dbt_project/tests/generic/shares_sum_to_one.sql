{#- Shares of one whole sum to 1 up to their rounding; wholes without a share are left out. -#}
{% test shares_sum_to_one(model, share, group_by) %}
select {{ group_by | join(', ') }}
from {{ model }}
group by {{ group_by | join(', ') }}
having abs(sum({{ share }}) - 1) > 0.000001
{% endtest %}
