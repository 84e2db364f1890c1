"""`python -m benchmarks [NAME …]`: runs the benchmarks and prints their tables."""

import sys

from benchmarks import calibration, daily_run, delinquency, extraction, gate, gate_recall, ledger, simulation

BENCHMARKS = {
    "daily_run": daily_run.main,
    "delinquency": delinquency.main,
    "extraction": extraction.main,
    "calibration": calibration.main,
    "simulation": simulation.main,
    "ledger": ledger.main,
    "gate": gate.main,
    "gate-recall": gate_recall.main,
}


def main() -> None:
    """Runs the named benchmarks, or all."""
    names = [name for name in sys.argv[1:] if not name.startswith("--")] or list(BENCHMARKS)
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        sys.exit(f"There is no benchmark {unknown[0]}: there are {', '.join(BENCHMARKS)}.")
    for name in names:
        if "--json" not in sys.argv:
            print(f"\n## {name}\n")
        BENCHMARKS[name]()


if __name__ == "__main__":
    main()
