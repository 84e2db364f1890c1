"""What a person does about a failed rule, and who answers for it: `expectations/advice.yml`, which people write."""

import shlex
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache

from pydantic import BaseModel, ConfigDict

from arrears.extraction.yaml_files import read_yaml
from arrears.settings import CHECKOUT

FILE = CHECKOUT / "expectations/advice.yml"


class Owner(BaseModel):
    """Who answers for the suites whose names fit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str
    owner: str


class Advice(BaseModel):
    """The likely cause of a failure, and what to do next."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str = "*"
    rule: str = "*"
    cause: str
    next: str


class AdviceFile(BaseModel):
    """All of it; the first entry that fits counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    owners: tuple[Owner, ...]
    advice: tuple[Advice, ...]


@cache
def _file() -> AdviceFile:
    return read_yaml(FILE, AdviceFile)


def owner_of(suite: str) -> str:
    """Who answers for a suite's rules; empty where the file names nobody."""
    return next((one.owner for one in _file().owners if fnmatchcase(suite, one.suite)), "")


def advise(suite: str, rule: str) -> Advice | None:
    """Cause and next step of a failure; None where the file has none that fits."""
    return next((one for one in _file().advice if fnmatchcase(suite, one.suite) and fnmatchcase(rule, one.rule)), None)


def next_step(advice: Advice, suite: str, rule: str, as_of_date: object) -> str:
    """What to do next, with the failure's own names."""
    return advice.next.format(as_of_date=as_of_date, suite=suite, rule=rule)


def waive_command(suite: str, rule: str, as_of_date: object, key: Mapping[str, str] | None = None) -> str:
    """The command that lets a failure pass, for a person to complete."""
    columns = "".join(f" --key {shlex.quote(f'{name}={value}')}" for name, value in (key or {}).items())
    return (
        f"arrears gate waive {shlex.quote(suite)} {shlex.quote(rule)} --as-of {as_of_date}{columns}"
        " --by NAME --reason TEXT"
    )
