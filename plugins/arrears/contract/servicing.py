"""The servicing contract, read from the dbt sources file: the only place that states it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType

import yaml

from arrears.settings import CHECKOUT

# Ids that name a row of another table without being held to it.
IDS_WITHOUT_REFERENCE = (
    "group_id",
    "officer_id",
    "refinances_loan_id",
    "reverses_transaction_id",
    "agency_id",
    "notice_id",
)

CONTRACT_FILE = CHECKOUT / "dbt_project/models/staging/servicing/_servicing__sources.yml"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a contract table; `data_type` is PostgreSQL's."""

    name: str
    data_type: str
    required: bool = False
    values: tuple[str, ...] = ()
    references: str | None = None
    personal: bool = False
    description: str = field(default="", repr=False, compare=False)  # other words make no other column

    @property
    def is_share(self) -> bool:
        """Whether values lie in 0..1."""
        return self.data_type == "numeric(9,8)"


@dataclass(frozen=True, slots=True)
class Table:
    """One table that every source delivers, or leaves out where it is not required."""

    name: str
    grain: str
    primary_key: tuple[str, ...]
    known_at: str | None
    required: bool
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises:
            KeyError: the table has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name} has no column {name}")

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names in the contract's order."""
        return tuple(column.name for column in self.columns)

    @property
    def prefixed_columns(self) -> tuple[str, ...]:
        """Keys and references that mean something within one source only; a source's `key_prefix` goes before them.

        Empty for what is the same for every lender: exchange rates, industry indices.
        """
        return tuple(
            column.name
            for column in self.columns
            if column.data_type == "text"
            and (
                column.references is not None
                or (column.name in self.primary_key and column.name.endswith("_id"))
                or column.name in IDS_WITHOUT_REFERENCE
            )
        )

    @property
    def only_grows(self) -> bool:
        """Whether a row once known may neither change nor vanish."""
        return self.known_at is not None


Contract = Mapping[str, Table]


@cache
def contract() -> Contract:
    """Tables by name, in the order of the file."""
    document = yaml.safe_load(CONTRACT_FILE.read_text(encoding="utf-8"))
    (servicing,) = [source for source in document["sources"] if source["name"] == "servicing"]
    tables = {}
    for entry in servicing["tables"]:
        meta = entry["config"]["meta"]
        tables[entry["name"]] = Table(
            name=entry["name"],
            grain=entry["description"],
            primary_key=tuple(meta["primary_key"]),
            known_at=meta.get("known_at"),
            required=meta.get("required", False),
            columns=tuple(_column(column) for column in entry["columns"]),
        )
    return MappingProxyType(tables)


def _column(entry: dict) -> Column:  # type: ignore[type-arg]
    meta = entry.get("config", {}).get("meta", {})
    return Column(
        name=entry["name"],
        data_type=entry["data_type"],
        required=meta.get("required", False),
        values=tuple(str(value) for value in meta.get("values", ())),
        references=meta.get("references"),
        personal=meta.get("personal", False),
        description=entry.get("description", ""),
    )
