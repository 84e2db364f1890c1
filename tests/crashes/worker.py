"""A process that has dbt and Great Expectations loaded and forks a worker for each request, as Airflow's executor does.

Each worker runs the program itself (`arrears step …`, one after another) in a process of its own, which may be killed;
only the imports, ten seconds of them, are shared. A request is a line of JSON with the commands, their environment and
a file for what they print; the answers are the worker's number and, when it has ended, its exit code.
"""

import json
import os
import sys
import traceback
from typing import NoReturn

from arrears import assignment, cli, export, gate  # noqa: F401 (loaded before the fork)
from arrears.gate import engine
from arrears.settings import get_settings


def _load() -> None:
    import dbt.adapters.postgres
    import dbt.cli.main  # noqa: F401

    engine.load()


def _work(request: dict) -> NoReturn:
    """In the forked process: the commands in order, until one does not end with 0."""
    code = 70
    try:
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.clear()
        os.environ.update(request["environment"])
        get_settings.cache_clear()
        for command in request["commands"]:
            sys.argv = ["arrears", *command]
            try:
                cli.main()
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 1
            if code != 0:
                break
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Answers requests until its input ends."""
    _load()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _work(json.loads(line))
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
