{#- Fails for every row of which the expression is false; unknown (null) counts as holding, as in a CHECK constraint. -#}
{% test expression_holds(model, expression) %}
select *
from {{ model }}
where not ({{ expression }})
{% endtest %}
