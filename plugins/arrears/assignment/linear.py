"""One linear or integer program, solved by HiGHS the same way every time.

One thread, a fixed seed, stopped by gap or by counted work and never by a clock: the same program gives the same answer
whenever it is solved (Huangfu and Hall, "Parallelizing the dual revised simplex method", 2018: the solver).
"""

from dataclasses import dataclass

import highspy
import numpy as np
from highspy import _core
from numpy.typing import NDArray

from arrears.errors import ArrearsError

SEED = 0

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Program:
    """Maximise value . x with row_lower <= A x <= row_upper and 0 <= x <= upper.

    A is given by its entries; those that name the same place are added up.
    """

    value: Floats
    upper: Floats
    is_integer: bool
    row_lower: Floats
    row_upper: Floats
    entry_row: Integers
    entry_column: Integers
    entry_weight: Floats


@dataclass(frozen=True, slots=True)
class Answer:
    """What the solver found.

    x is None where the program has no solution or none was found within the allowed work; bound is proved. `price` is
    what one more unit of a row's upper limit would be worth (negative: what its lower limit costs); empty for integer
    programs.
    """

    x: Floats | None
    value: float
    bound: float
    price: Floats


def solver_name() -> str:
    """Name and version, as `assignment_run.solver` shows it."""
    version = (highspy.HIGHS_VERSION_MAJOR, highspy.HIGHS_VERSION_MINOR, highspy.HIGHS_VERSION_PATCH)
    return "HiGHS " + ".".join(str(part) for part in version)


def solve(program: Program, *, gap_share: float = 0.0, node_limit: int = 10_000) -> Answer:
    """Solves the program.

    Args:
        program: what to solve.
        gap_share: an integer program is good enough when the bound is no further away, in proportion.
        node_limit: how many branch-and-bound nodes an integer program may look at.

    Raises:
        ArrearsError: the solver gave up for another reason than its work limit or infeasibility.
    """
    solver = _solver()
    # Presolving saves nothing on the linear programs here, and postsolving some of them lost digits.
    solver.setOptionValue("presolve", "choose" if program.is_integer else "off")
    if program.is_integer:
        solver.setOptionValue("mip_rel_gap", gap_share)
        solver.setOptionValue("mip_abs_gap", 0.0)
        solver.setOptionValue("mip_max_nodes", node_limit)
    solver.passModel(_model(program))
    solver.run()
    status = solver.getModelStatus()
    info = solver.getInfo()
    statuses = highspy.HighsModelStatus
    if status in (statuses.kInfeasible, statuses.kUnboundedOrInfeasible):
        return Answer(None, -np.inf, -np.inf, np.empty(0))
    # Unknown: a linear program whose last prices are not optimal to the last digit. Any prices give a bound that holds.
    is_usable = status in (statuses.kOptimal, statuses.kSolutionLimit, statuses.kModelEmpty)
    if not is_usable and (program.is_integer or status != statuses.kUnknown):
        raise ArrearsError(
            f"The solver stopped with '{solver.modelStatusToString(status)}' on a program of {len(program.value)}"
            f" columns and {len(program.row_upper)} rows; look for implausible amounts in int_assignment__candidates."
        )
    is_found = info.primal_solution_status == int(highspy.SolutionStatus.kSolutionStatusFeasible)
    solution = solver.getSolution()
    x = np.asarray(solution.col_value, dtype=np.float64) if is_found else None
    value = -info.objective_function_value if is_found else -np.inf
    if program.is_integer:
        return Answer(x, value, -info.mip_dual_bound, np.empty(0))
    return Answer(x, value, value, -np.asarray(solution.row_dual, dtype=np.float64))


def _solver() -> _core._Highs:
    # The class below highspy.Highs: the one above prints a banner to stdout, where the commands print results.
    solver = _core._Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("parallel", "off")
    solver.setOptionValue("random_seed", SEED)
    return solver


def _model(program: Program) -> highspy.HighsLp:
    column_count, row_count = len(program.value), len(program.row_upper)
    starts, rows, weights = _compressed(program)
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = column_count, row_count
    # HiGHS minimises unless told otherwise; with negated values the sign of its duals follows one convention.
    model.col_cost_ = -program.value
    model.col_lower_ = np.zeros(column_count)
    model.col_upper_ = program.upper
    model.row_lower_, model.row_upper_ = program.row_lower, program.row_upper
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_, model.a_matrix_.index_, model.a_matrix_.value_ = starts, rows, weights
    if program.is_integer:
        model.integrality_ = [highspy.HighsVarType.kInteger] * column_count
    return model


def _compressed(program: Program) -> tuple[NDArray[np.int32], NDArray[np.int32], Floats]:
    """The matrix by columns, rows ascending, what stands twice in one place added up."""
    place = program.entry_column * max(1, len(program.row_upper)) + program.entry_row
    distinct, which = np.unique(place, return_inverse=True)
    weights = np.bincount(which, weights=program.entry_weight, minlength=len(distinct)).astype(np.float64)
    columns, rows = np.divmod(distinct, max(1, len(program.row_upper)))
    starts = np.searchsorted(columns, np.arange(len(program.value) + 1))
    return starts.astype(np.int32), rows.astype(np.int32), weights
