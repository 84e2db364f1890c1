"""What the simulator believes, read once from parameters.yml."""

from datetime import date
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from arrears.errors import UsageError

FILE = Path(__file__).with_name("parameters.yml")
Share = float


class Section(BaseModel):
    """A part of the file; a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Sourced(Section):
    """A part whose numbers have a source."""

    source: str = Field(min_length=3)


class Places(Sourced):
    """Countries with their law, currency and zone; see `Place`."""

    rows: tuple[
        tuple[str, str | None, str, str, str, str, float, float, str, str, tuple[str, ...]],
        ...,
    ]


class Currencies(Sourced):
    """By currency: decimal digits, and the step of agreed amounts."""

    rows: dict[str, tuple[int, int]]


class Product(Sourced):
    """One kind of loan."""

    share: float
    principal: float
    principal_spread: float
    interest_rate: float
    terms: tuple[int, ...]
    term_shares: tuple[float, ...]
    months_between: int  # instalments; 0: one at maturity
    exposure_class: Literal["retail", "sme_retail", "corporate", "project"]
    miss_logit: float
    roll_logits: tuple[float, float, float]
    cure_shares: tuple[float, float, float]
    write_off_after: int
    write_off_share: Share
    sale_share: Share
    prepaid_share: Share
    collateral: str | None


class Origination(Sourced):
    """What the making of a loan brings along, and what the score sees of it."""

    officers: int
    bad_officers: int
    bad_officer_logit: float
    channel_shares: tuple[Share, Share, Share]
    channel_logits: tuple[float, float, float]
    score: float
    score_by_standing: float
    score_by_logit: float
    score_noise: float


class Capacity(Sourced):
    """The hidden state: log of a borrower's means over the instalment."""

    mean_log: float
    borrower_spread: float
    persistence: float
    surprise: float
    logit_per_log: float
    roll_logit_per_log: float
    macro: float
    industry: float
    contagion: float
    december: float
    tax_refund: float
    forgetful_share: Share
    forgetful_logit: float
    strategic_share: Share
    strategic_logit: float


class Surroundings(Sourced):
    """What is the same for everybody: the cycle, industries with their regimes, policy, exchange rates."""

    wave_months: int
    wave_rises: date
    wave: float
    surprise: float
    persistence: float
    industries: dict[str, float]
    project_industries: tuple[str, ...]
    regime_changes: tuple[tuple[Share, Share, Share], ...]
    regime_drift: tuple[float, float, float]
    regime_spread: tuple[float, float, float]
    index_step: float
    index_most: float
    person_share: Share
    policies: dict[str, float]
    policy_hazard: Share
    policy_delay: tuple[int, int]
    rate_step: float
    pegged_rate_step: float

    @property
    def codes(self) -> tuple[str, ...]:
        """The industries' codes."""
        return tuple(self.industries)


class Shock(Section):
    """What befalls a borrower."""

    hazard: float
    loss: float
    length: float
    cycle: float


class Shocks(Sourced):
    """By kind of borrower."""

    person: dict[str, Shock]
    company: dict[str, Shock]
    spv: dict[str, Shock]


class Paying(Sourced):
    """How payments are made, booked and taken back."""

    direct_debit_share: Share
    early_share: Share
    late_share: Share
    forgetful_late_share: Share
    partial_share: Share
    doubled_share: Share
    refunded_share: Share
    chargeback_share: Share
    credit_note_share: Share
    bounced_of_missed: Share
    bounced_of_paid: Share
    backdated_share: Share
    fee_share: Share
    fee: float
    fee_waived_share: Share
    interest_waived_share: Share
    holiday_share: Share
    reschedule_share: Share
    pause_share: Share
    called_share: Share
    default_payment_share: Share
    default_payment_decay: float
    default_payment_size: float
    settled_share: Share
    recovery_share: Share
    recovery_decay: float
    recovery_size: float


class FarBehind(Section):
    """How accounts far behind pay."""

    state_effect: float
    relief_effect: float
    most: Share


class Contracts(Sourced):
    """Contracts with teams, agencies and law firms, and their prices."""

    rows: tuple[
        tuple[str, str, str | None, int, int | None, float, Share, int | None, Share, float, Share | None, int],
        ...,
    ]
    late: dict[str, str]
    dearer: dict[int, Share]
    vat: Share


class Collecting(Sourced):
    """What collectors do, what it brings and what it costs."""

    attempts: tuple[int, ...]
    channels: tuple[tuple[Share, Share, Share, Share, Share], ...]
    reach: dict[str, Share]
    effect: dict[str, float]
    cost: dict[str, float]
    fatigue: float
    promise_share: Share
    promise_effect: float
    complaint_share: Share
    placed_share: Share
    agency_effect: float
    agency_skill: dict[str, tuple[float, float, float]]
    agency_learning: float
    lie_share: Share
    recalled_after: int
    suit_share: Share
    suit_effect: float
    suit_months: tuple[int, int]
    sale_of_collateral_share: Share
    protected_share: Share
    protected_shock_share: Share
    forgetful_relief: float
    far_behind: FarBehind
    answers: tuple[float, float]
    suppressions: dict[str, Share]
    suppression_days: int
    feedback_idle_share: Share
    feedback_outcomes: dict[str, Share]
    feedback_actions: dict[str, Share]
    feedback_lies: tuple[float, float]
    harshness: tuple[float, float]
    suit_won_share: Share
    enforcement_results: dict[str, Share]
    costs: dict[str, float]
    conflict_share: Share
    default_elsewhere_share: Share
    rating_cut_share: Share
    provision_share: Share


class Security(Section):
    """What a charged asset is worth, and what a forced sale leaves of it."""

    value: float
    value_spread: float
    haircut: float
    haircut_spread: float
    months: int
    enforceable: Share


class Recovery(Sourced):
    """By kind of collateral."""

    real_estate: Security
    vehicle: Security
    equipment: Security
    receivables: Security
    project_assets: Security


class Watching(Sourced):
    """How the hidden state shows in statements and credit reports, months before the instalments fail."""

    statement_noise: float
    false_signal_share: Share
    current_ratio: float
    current_spread: float
    current_skew: float
    quick_ratio: float
    liquidity_by_state: float
    leverage: float
    leverage_spread: float
    leverage_by_state: float
    common_in_ratios: Share
    publication_days: tuple[int, int]


class Parameters(Section):
    """The whole file."""

    places: Places
    currencies: Currencies
    products: dict[str, Product]
    origination: Origination
    capacity: Capacity
    surroundings: Surroundings
    shocks: Shocks
    paying: Paying
    collecting: Collecting
    contracts: Contracts
    recovery: Recovery
    watching: Watching


@cache
def parameters(file: Path = FILE) -> Parameters:
    """The file's content.

    Raises:
        UsageError: a key is missing, unknown or of another type; names file and key.
    """
    try:
        return Parameters.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{file.name}: {key}: {first['msg']}; mend that key.") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{file.name} is no YAML: {' '.join(str(error).split())[:200]}.") from None
