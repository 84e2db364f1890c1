"""What is configured, reachable and missing, and which capabilities that switches off."""

import shutil
from dataclasses import dataclass
from typing import Literal

import psycopg

from arrears import delivery, warehouse
from arrears.contract.servicing import contract
from arrears.errors import ArrearsError
from arrears.extraction import sources
from arrears.settings import environment_variable, get_settings
from arrears.warehouse.bootstrap import kept
from arrears.warehouse.connections import connect, embedded, parameters

Verdict = Literal["ok", "off", "wrong"]

# What each optional table of the contract is needed for.
NEEDED_FOR = {
    "agencies": "placing accounts outside: without it the internal teams of the seed take all",
    "agency_contracts": "placing accounts with agencies and law firms",
    "agency_contract_terms": "prices of agencies by the age of a debt (their contracts' own commission holds)",
    "agency_conflicts": "keeping an agency from borrowers that it has a conflict with",
    "contact_preferences": "keeping to the channels that a borrower wants",
    "agency_licences": "placing accounts with agencies and law firms",
    "suppressions": "keeping back who may not be contacted",
    "forbearances": "delinquency pauses and restructured loans in portfolio at risk",
    "charges": "fees and penalties raised outside the schedule",
    "fx_rates": "comparing accounts in several currencies",
    "placements": "leaving placed accounts where they are",
    "servicer_balances": "revolving loans' balances",
    "credit_events": "classes that rest on an event: bankruptcy, non-accrual, provision, dispute, fraud",
    "credit_reports": "classes that rest on debts elsewhere",
    "collateral": "the US policy for home loans, by loan to value",
    "collateral_loans": "the US policy for home loans, by loan to value",
    "valuations": "the US policy for home loans, by loan to value",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at."""

    what: str
    verdict: Verdict
    said: str


def examine() -> list[Check]:
    """Looks at settings, warehouse, sources and tables; changes nothing but to start the embedded server."""
    settings = get_settings()
    server = embedded()
    checks = [
        Check("home", "ok", str(settings.home)),
        Check("exports", "ok", str(settings.exports)),
        Check("server", "ok", "embedded PostgreSQL" if server else "ARREARS_DATABASE_URL"),
    ]
    free = shutil.disk_usage(next(p for p in (settings.home, *settings.home.parents) if p.exists())).free // 1024**3
    checks.append(Check("disk", "ok" if free >= 5 else "wrong", f"{free} GiB free under the home"))
    try:
        warehouse.ready()
    except ArrearsError as error:
        return [*checks, Check("warehouse", "wrong", str(error))]
    with connect() as connection:
        version = connection.execute("show server_version").fetchone()
        assert version is not None
        where = parameters("bi", tcp=server is not None)
        checks.append(Check("warehouse", "ok", f"PostgreSQL {version[0]} at {where.get('host')}:{where.get('port')}"))
        for setting in ("business_time_zone", "reporting_currency", "sources"):
            value = kept(connection, setting)
            checks.append(Check(setting, "ok" if value else "off", value or "kept at the first run"))
        checks += _sources()
        checks += _tables(connection)
        checks.append(_notifications())
    return checks + _deliveries()


def _sources() -> list[Check]:
    checks = []
    for file in sorted(get_settings().sources_folder.glob("*/source.yml")):
        try:
            source = sources.load_source(file.parent.name)
            checks.append(Check(f"source {source.name}", "ok", source.description.strip().splitlines()[0]))
            if source.engine == "postgres":
                checks.append(_database(source))
        except ArrearsError as error:
            checks.append(Check(f"source {file.parent.name}", "wrong", str(error)))
    return checks or [Check("sources", "wrong", f"no source under {get_settings().sources_folder}")]


def _notifications() -> Check:
    settings = get_settings()
    if settings.notify is None:
        return Check(
            "notifications", "off", "ARREARS_NOTIFY is not set: failures are told by Airflow and `status` alone"
        )
    due = f"queues are due at {settings.queues_due_at:%H:%M}" if settings.queues_due_at else "no hour is set for queues"
    return Check("notifications", "ok", f"failures and missing deliveries are told; {due} (ARREARS_QUEUES_DUE_AT)")


def _signature() -> Check:
    from arrears.export import signing

    if not get_settings().manifest_key:
        return Check("manifest signature", "off", f"{signing.SETTING} is not set: manifests are not signed")
    try:
        signing.public_key()
    except ArrearsError as error:
        return Check("manifest signature", "wrong", str(error))
    return Check("manifest signature", "ok", "`arrears manifest-key` prints the key for the recipients")


def _deliveries() -> list[Check]:
    """Whether exports are delivered, and whether what each target is opened with is there; no target is asked."""
    file = get_settings().deliveries_file
    try:
        deliveries = delivery.configured()
    except ArrearsError as error:
        return [Check("deliver", "wrong", str(error))]
    checks = [_signature()]
    if not deliveries:
        return [*checks, Check("deliver", "off", f"{file} is not there: exports stay in their folder")]
    for name, one in deliveries.items():
        try:
            from arrears.delivery.targets import need_credential

            need_credential(name, one)
            checks.append(Check(f"deliver {name}", "ok", f"{one.target}; `arrears deliver --check` asks it"))
        except ImportError as error:
            checks.append(Check(f"deliver {name}", "wrong", f"{error.name} is not installed: `make setup` installs it"))
        except ArrearsError as error:
            checks.append(Check(f"deliver {name}", "wrong", str(error)))
    return checks


def _database(source: sources.Source) -> Check:
    """Whether a lender's database can be read, and whether a row that is committed late could be missed in it."""
    from arrears.extraction.database.reading import weakness

    what = f"database of {source.name}"
    variable = source.connection or ""
    if not variable.startswith("airflow:") and not environment_variable(variable):
        return Check(what, "off", f"{variable} is not set")
    try:
        why = weakness(source)
    except ArrearsError as error:
        return Check(what, "wrong", str(error))
    if source.cursor is None:
        return Check(what, "ok", "read whole every time: source.yml names no cursor")
    if why is not None:
        return Check(
            what,
            "off",
            f"weaker: {why}; until then each reading begins {source.overlap_minutes} minutes before the last one,"
            f" and what a transaction open for longer changed is missed",
        )
    return Check(what, "ok", "open transactions are seen: what is committed late is not missed")


def _tables(connection: psycopg.Connection) -> list[Check]:
    delivered = {
        str(row[0])
        for row in connection.execute(
            "select distinct table_name from ops.batch_tables inner join ops.batches using (batch_id)"
            " where state = 'accepted' and is_delivered and row_count > 0"
        )
    }
    if not delivered:
        return [Check("deliveries", "off", "no drop has been accepted yet: `arrears run`")]
    return [
        Check(f"table {table.name}", "off", f"not delivered, which switches off {NEEDED_FOR[table.name]}")
        for table in contract().values()
        if table.name in NEEDED_FOR and table.name not in delivered
    ]
