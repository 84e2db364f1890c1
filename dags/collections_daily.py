"""One run per business date D: extract, gate, build, decide, gate, export, deliver.

The work is in `arrears.steps`: a task and `arrears step NAME --as-of D` call the same function. D is the start of the
run's data interval in the business time zone; a run made by hand gets the day before its logical date, so give it
noon of D+1 (`arrears run --as-of D` does that). A source whose delivery is due and not there is waited for before
anything takes the warehouse, as long as its source.yml says. Delivering holds it no longer.
"""

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Asset, CronDataIntervalTimetable, Param, chain, dag, task

from arrears.orchestration import (
    BUSINESS_TIME_ZONE,
    DEFAULT_ARGS,
    DELIVER_ARGS,
    DELIVERIES_POOL,
    FLAGS,
    MAX_ACTIVE_RUNS,
    PARAMS,
    STEPS,
    TIME_LIMITS,
    give_back,
    run_step,
)
from arrears.scheduling.await_delivery import AwaitDelivery
from arrears.scheduling.notifying import deadline, on_failure

# Before any date that anybody will replay: a task that starts later than its run's date is skipped in silence.
START = datetime(1970, 1, 1, tzinfo=UTC)
MIDNIGHT = CronDataIntervalTimetable("0 0 * * *", timezone=BUSINESS_TIME_ZONE)
QUEUES = Asset("collection_queues")
FIRST, *MIDDLE, LAST = STEPS


@dag(
    schedule=MIDNIGHT,
    start_date=START,
    catchup=False,
    max_active_runs=MAX_ACTIVE_RUNS,
    default_args=DEFAULT_ARGS | {"on_failure_callback": on_failure()},
    deadline=deadline(),
    params={
        **{name: Param(None, type=["null", "string"], description=text) for name, text in PARAMS.items()},
        **{name: Param(given, type="boolean", description=text) for name, (given, text) in FLAGS.items()},
    },
    on_failure_callback=give_back,
    tags=["collections"],
    doc_md=__doc__,
)
def collections_daily() -> None:
    @task(map_index_template="{{ task.op_kwargs['source'] }}", execution_timeout=TIME_LIMITS[FIRST])
    def extract(source: str, **context: Any) -> Any:
        return run_step(FIRST, context, source=source)

    @task
    def step(name: str, **context: Any) -> Any:
        return run_step(name, context)

    def one(name: str, **more: Any) -> Any:
        return step.override(task_id=name, execution_timeout=TIME_LIMITS[name], **more)(name)

    sources = one("list_sources")
    delivered = AwaitDelivery.partial(
        task_id="await_delivery",
        map_index_template="{{ task.source }}",
        pool=DELIVERIES_POOL,
        execution_timeout=TIME_LIMITS["await_delivery"],
    ).expand(source=sources)
    chain(
        delivered,
        extract.expand(source=sources),
        *[one(name) for name in MIDDLE],
        one(LAST, outlets=[QUEUES]),
        one("deliver", **DELIVER_ARGS),
    )


collections_daily()
