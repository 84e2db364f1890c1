"""The demo's small portfolio through the pipeline: no fault to find, and arrears as its servicer counts them.

The generator states arrears and days past due of every running loan in `servicer_balances`, from cumulated claims and
payments (its own tests check it loan by loan): late, partial, bounced and backdated payments, charges, reschedules.
"""

from datetime import date
from pathlib import Path

import pytest

from arrears import steps
from arrears.simulation.small_portfolio import write_drops
from tests.conftest import Workplace

FIRST, SECOND = date(2026, 3, 31), date(2026, 4, 1)

PAIRS = """
select stated.loan_id, made.days_past_due, stated.days_past_due, made.arrears_amount, stated.arrears_amount
from versions.servicer_balances as stated
left join working.loan_delinquency as made on stated.loan_id = made.loan_id
where stated.balance_on = %s and stated._known_to is null
"""


@pytest.mark.slow
def test_two_days_agree_with_the_servicers_own_figures(workplace: Workplace, tmp_path: Path) -> None:
    drops = tmp_path / "drops"
    write_drops(drops, first=FIRST, last=SECOND, loans=400, seed=7)
    for day in (FIRST, SECOND):
        for name in ("extract", "gate_raw", "build_marts"):
            steps.run(
                name, day, run_id="test", source="contract" if name == "extract" else None, drop=tmp_path / "drops"
            )
        pairs = workplace.rows(PAIRS, day)

        assert len(pairs) > 300
        assert [pair for pair in pairs if (pair[1], pair[3]) != (pair[2], pair[4])] == []
        assert sum(1 for pair in pairs if pair[3]) > 30  # many are late, or the comparison would say little
    assert workplace.rows("select table_name, rule, reason from quarantine.rows") == []
    assert workplace.rows("select suite, rule from ops.gate_results where not is_passed") == []
    assert workplace.rows("select table_name, warnings from ops.batch_tables where warnings <> '[]'") == []
