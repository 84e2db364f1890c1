"""Who sees which column: `recipient_columns.yml`, checked against what there is."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, field_validator

from arrears.errors import ExportError

POLICY_FILE = Path(__file__).with_name("recipient_columns.yml")
ALWAYS = ("rank", "loan_id")


class Policy(BaseModel):
    """The columns of one kind of recipient, in the file's order: those of the queue, then the personal ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    queue: tuple[str, ...]
    contact: tuple[str, ...] = ()

    @field_validator("queue")
    @classmethod
    def _says_which_account(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        missing = [name for name in ALWAYS if name not in value]
        if missing:
            raise ValueError(f"{', '.join(missing)} must be named, or nobody can tell the accounts apart")
        return value


def read_policies(file: Path = POLICY_FILE) -> Mapping[str, Policy]:
    """Policies by kind of recipient.

    Raises:
        ExportError: the file is not what it must be; names file and key.
    """
    try:
        return TypeAdapter(dict[str, Policy]).validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise ExportError(f"{file}: not YAML: {getattr(error, 'problem', error)}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ExportError(f"{file}, key {key}: {first['msg'].removeprefix('Value error, ')}.") from error


@cache
def policies() -> Mapping[str, Policy]:
    """The policies of this version of the code, read once."""
    return read_policies()
