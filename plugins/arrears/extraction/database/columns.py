"""How a column of a lender's database is read as the contract's type, in its own SQL.

A type that always fits is only cast. One that may not (text that holds numbers, a wider number) is cast where the value
fits and null where it does not, so that a bad value costs its row and never aborts the reading. The expressions run on
every supported version of PostgreSQL, and they read a value as extraction/drops/row_checks.py reads it from a file.
"""

from dataclasses import dataclass, replace

from psycopg import sql

from arrears.contract.servicing import Column, Table
from arrears.errors import SourceError

INT2, INT4, INT8, FLOAT4, FLOAT8, NUMERIC = 21, 23, 20, 700, 701, 1700
BOOLEAN, DATE, TIMESTAMP, TIMESTAMPTZ = 16, 1082, 1114, 1184
TEXTS = (25, 1043, 1042, 19, 18)
FIRST_USER_DEFINED = 16384  # enums, citext: they read like text
DIGITS = {INT2: 5, INT4: 10, INT8: 19}

DAY = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?)?"
OFFSET = "(Z|z|[+-](0[0-9]|1[0-5])(:?[0-5][0-9])?)"

CONTROL_CHARACTERS = (30, 31)  # the second parts what is hashed


@dataclass(frozen=True, slots=True)
class Described:
    """A column as the database describes it: PostgreSQL's type number, its modifier and its name for messages."""

    name: str
    kind: int
    modifier: int
    type_name: str

    @property
    def is_text(self) -> bool:
        """Whether its values are any text."""
        return self.kind in TEXTS or self.kind >= FIRST_USER_DEFINED

    @property
    def precision_and_scale(self) -> tuple[int, int] | None:
        """Of a numeric with bounds."""
        if self.modifier < 4:
            return None
        bounds = self.modifier - 4
        return bounds >> 16 & 0xFFFF, ((bounds & 0x7FF) ^ 1024) - 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """SQL that reads one column of `delivered`.

    `value` is typed; where `raw` is there, `value` is null for what does not fit. `is_bad` is a condition on the typed
    value, for what fits the type and still is no value.
    """

    value: sql.Composable
    complaint: str
    raw: sql.Composable | None = None
    is_bad: sql.Composable | None = None

    def after(self, prefix: sql.Composable) -> "Reading":
        """The same with a text before every value."""
        return replace(self, value=sql.SQL("{} || {}").format(prefix, self.value))


def missing(column: Column) -> Reading:
    """A nullable column that is not delivered."""
    return Reading(sql.SQL("cast(null as " + column.data_type + ")"), "")


def read(column: Column, found: Described, table: Table, zones: tuple[str | None, str], place: str) -> Reading:
    """How a delivered column is read.

    Args:
        column: the contract's.
        found: as the database has it.
        table: for messages.
        zones: of timestamps without an offset (None: source.yml names none), and of dates that stand for instants.
        place: for messages.

    Raises:
        SourceError: its type is no way to say the contract's.
    """
    kind, given = column.data_type, sql.Identifier("delivered", found.name)
    reading = None
    if kind == "text":
        reading = _text(column, given)
    elif kind == "integer":
        reading = _integer(found, given)
    elif kind == "boolean":
        reading = _boolean(found, given)
    elif kind == "date":
        reading = _date(column, found, given)
    elif kind == "timestamptz":
        if found.kind == TIMESTAMP and zones[0] is None:
            raise SourceError(
                f"{place}: column {column.name} of table {table.name} is a timestamp without time zone: say in"
                f" source.yml which time_zone it is in."
            )
        reading = _instant(column, found, given, zones)
    else:
        reading = _number(column, found, given)
    if reading is None:
        raise SourceError(
            f"{place}: column {column.name} of table {table.name} is of type {found.type_name}, which cannot be read"
            f" as {kind}: convert it in {table.name}.sql."
        )
    return reading


def hashed(column: Column) -> sql.Composable:
    """SQL of `name=value`, the part that a typed column has in its row's hash; null where it is null."""
    name = sql.Identifier(column.name)
    if column.data_type == "timestamptz":
        return sql.SQL("to_char({}, {})").format(name, sql.Literal(f'"{column.name}="YYYY-MM-DD HH24:MI:SS.US"+00"'))
    return sql.SQL("{} || cast({} as text)").format(sql.Literal(f"{column.name}="), name)


def _as_text(given: sql.Composable) -> sql.Composable:
    return sql.SQL("nullif(cast({} as text), '')").format(given)


def _text(column: Column, given: sql.Composable) -> Reading:
    name = sql.Identifier(column.name)
    tests = [
        sql.SQL('strpos({} collate "C", chr({})) > 0').format(name, sql.Literal(code)) for code in CONTROL_CHARACTERS
    ]
    return Reading(_as_text(given), "holds a control character", is_bad=sql.SQL(" or ").join(tests))


def _integer(found: Described, given: sql.Composable) -> Reading | None:
    complaint = "is no whole number"
    fits = sql.SQL(
        "case when {0} between -2147483648 and 2147483647 and {0} = trunc(cast({0} as numeric))"
        " then cast({0} as integer) end"
    )
    if found.kind in (INT2, INT4):
        return Reading(sql.SQL("cast({} as integer)").format(given), complaint)
    if found.kind == INT8:
        fits = sql.SQL("case when {0} between -2147483648 and 2147483647 then cast({0} as integer) end")
        return Reading(fits.format(given), complaint, raw=given)
    if found.kind in (NUMERIC, FLOAT4, FLOAT8):
        fits = sql.SQL(
            "case when {0} between -2147483648 and 2147483647 then"
            " case when cast({0} as numeric) = trunc(cast({0} as numeric)) then cast({0} as integer) end end"
        )
        return Reading(fits.format(given), complaint, raw=given)
    if found.is_text:
        text = _as_text(given)
        value = sql.SQL(
            "case when {0} ~ '^[+-]?0*[0-9]{{1,10}}$' then case when cast({0} as bigint)"
            " between -2147483648 and 2147483647 then cast({0} as integer) end end"
        )
        return Reading(value.format(text), complaint, raw=text)
    return None


def _boolean(found: Described, given: sql.Composable) -> Reading | None:
    complaint = "is neither true nor false"
    if found.kind == BOOLEAN:
        return Reading(given, complaint)
    if found.is_text:
        text = _as_text(given)
        value = sql.SQL("case {} when 'true' then true when 'false' then false end").format(text)
        return Reading(value, complaint, raw=text)
    return None


def _date(column: Column, found: Described, given: sql.Composable) -> Reading | None:
    name = sql.Identifier(column.name)
    if found.kind == DATE:
        is_bad = sql.SQL("{} not between date '0001-01-01' and date '9999-12-31'").format(name)
        return Reading(given, "is no date between the years 1 and 9999", is_bad=is_bad)
    if found.is_text:
        text = _as_text(given)
        value = sql.SQL("case when {} then cast({} as date) end").format(_is_day(text, f"^{DAY}$"), text)
        return Reading(value, "is no date YYYY-MM-DD", raw=text)
    return None


def _is_day(text: sql.Composable, pattern: str) -> sql.Composable:
    """Whether a text has a pattern that begins with a day, and the month has that day; casts nothing that may fail."""
    return sql.SQL(
        "(case when {0} ~ {1} and left({0}, 4) <> '0000' then cast(substr({0}, 9, 2) as integer) <= extract(day from"
        " cast(left({0}, 8) || '01' as date) + interval '1 month' - interval '1 day') else false end)"
    ).format(text, sql.Literal(pattern))


def _instant(column: Column, found: Described, given: sql.Composable, zones: tuple[str | None, str]) -> Reading | None:
    name = sql.Identifier(column.name)
    is_bad = sql.SQL(
        "{} not between timestamptz '0001-01-02 00:00:00+00' and timestamptz '9999-12-30 00:00:00+00'"
    ).format(name)
    complaint = "is no instant between the years 1 and 9999"
    zone, zone_of_days = sql.Literal(zones[0]), sql.Literal(zones[1])
    # A date alone is the end of that day.
    end_of_day = sql.SQL("timezone({}, cast(cast({} as date) + 1 as timestamp) - interval '1 microsecond')")
    if found.kind == TIMESTAMPTZ:
        return Reading(given, complaint, is_bad=is_bad)
    if found.kind == TIMESTAMP:
        return Reading(sql.SQL("timezone({}, {})").format(zone, given), complaint, is_bad=is_bad)
    if found.kind == DATE:
        return Reading(end_of_day.format(zone_of_days, given), complaint, is_bad=is_bad)
    if not found.is_text:
        return None
    text = _as_text(given)
    cases = [
        sql.SQL("when {} then cast({} as timestamptz)").format(_is_day(text, f"^{DAY}[T ]{CLOCK} ?{OFFSET}$"), text),
        sql.SQL("when {} then ").format(_is_day(text, f"^{DAY}$")) + end_of_day.format(zone_of_days, text),
    ]
    complaint = "is no instant with an offset (source.yml names no time_zone)"
    if zones[0] is not None:
        complaint = "is no instant YYYY-MM-DD HH:MM:SS"
        local = sql.SQL("when {} then timezone({}, cast({} as timestamp))")
        cases.append(local.format(_is_day(text, f"^{DAY}[T ]{CLOCK}$"), zone, text))
    return Reading(sql.SQL("(case {} end)").format(sql.SQL(" ").join(cases)), complaint, raw=text)


def _number(column: Column, found: Described, given: sql.Composable) -> Reading | None:
    precision, scale = (int(part) for part in column.data_type.removeprefix("numeric(").rstrip(")").split(","))
    whole = precision - scale
    kind = sql.SQL(f"numeric({precision}, {scale})")
    complaint = f"is no number with at most {scale} decimals"
    plain = sql.SQL("cast({} as {})").format(given, kind)
    limit, decimals = sql.SQL(f"1e{whole}"), sql.Literal(scale)
    if found.kind in DIGITS and DIGITS[found.kind] <= whole:
        return Reading(plain, complaint)
    if found.kind in DIGITS:
        # As numeric: the smallest bigint has no absolute value of its own type.
        small = sql.SQL("case when abs(cast({0} as numeric)) < {1} then {2} end").format(given, limit, plain)
        return Reading(small, complaint, raw=given)
    if found.kind == NUMERIC:
        bounds = found.precision_and_scale
        if bounds is not None and bounds[1] <= scale and bounds[0] - bounds[1] <= whole:
            not_a_number = sql.SQL("{} = 'NaN'").format(sql.Identifier(column.name))
            return Reading(plain, complaint, is_bad=not_a_number)
        value = sql.SQL("case when abs({0}) < {1} and {0} = round({0}, {2}) then {3} end")
        return Reading(value.format(given, limit, decimals, plain), complaint, raw=given)
    if found.kind in (FLOAT4, FLOAT8):
        rounded = sql.SQL("round(cast({} as numeric), {})").format(given, decimals)
        value = sql.SQL("case when abs({0}) < {1} then case when abs({2}) < {1} then cast({2} as {3}) end end")
        return Reading(value.format(given, limit, rounded, kind), complaint, raw=given)
    if found.is_text:
        text = _as_text(given)
        pattern = sql.Literal(f"^[+-]?[0-9]{{1,{whole}}}([.][0-9]{{1,{scale}}}0*)?$")
        matching = sql.SQL("case when {} ~ {} then cast({} as {}) end").format(text, pattern, text, kind)
        return Reading(matching, complaint, raw=text)
    return None
