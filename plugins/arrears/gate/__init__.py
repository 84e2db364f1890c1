"""The quality gate: runs the suites of `expectations/`, quarantines rows, says whether the day may go on.

Great Expectations is imported inside `run_gate` alone: the import takes seconds.
"""

from arrears.gate.running import judge_batches, run_gate
from arrears.gate.verdict import Result, Verdict

__all__ = ["Result", "Verdict", "judge_batches", "run_gate"]
