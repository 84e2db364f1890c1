"""Looks at a day's export from outside, again and again: whenever it is there, it must be whole.

A program of its own without any package, so that the test's own work leaves no gap in what is seen. It holds the folder
open while it reads it, so that what it reads is one folder whatever is renamed meanwhile. Called with the exports
folder and the date; looks until its input ends, then prints as JSON what it saw.
"""

import hashlib
import json
import os
import select
import sys
from pathlib import Path

PAUSE_SECONDS = 0.001


def names_below(folder, prefix=""):
    """Every file below an open folder."""
    for name in os.listdir(folder):  # noqa: PTH208 (a descriptor, not a path)
        try:
            inside = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
        except NotADirectoryError:
            yield prefix + name
            continue
        try:
            yield from names_below(inside, f"{prefix}{name}/")
        finally:
            os.close(inside)


def read(folder, name):
    with os.fdopen(os.open(name, os.O_RDONLY, dir_fd=folder), "rb") as file:
        return file.read()


def fault_of(folder):
    """What the export in an open folder lacks; the hash of its manifest."""
    try:
        content = read(folder, "manifest.json")
        files = json.loads(content)["files"]
    except (OSError, ValueError, KeyError) as error:
        return f"no manifest that can be read: {error!r}", None
    version = hashlib.sha256(content).hexdigest()
    there = set(names_below(folder)) - {"manifest.json"}
    if there != set(files):
        return f"files other than the manifest's: {sorted(there ^ set(files))}", version
    for name, told in files.items():
        if hashlib.sha256(read(folder, name)).hexdigest() != told["sha256"]:
            return f"{name} is not what the manifest says", version
    return None, version


def main():
    exports, day = Path(sys.argv[1]), sys.argv[2]
    faults, versions, looks, whole, was_there = [], [], 0, 0, False
    print("looking", flush=True)
    while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
        looks += 1
        try:
            visible = [path.name for path in exports.iterdir() if not path.name.startswith(".")]
            folder = os.open(exports / day, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            if was_there:
                faults.append(f"look {looks}: the export vanished")
            was_there = False
            continue
        was_there = True
        try:
            fault, version = fault_of(folder)
        finally:
            os.close(folder)
        strange = [name for name in visible if len(name) != len(day)]
        if fault or strange:
            faults.append(f"look {looks}: {fault or strange}")
        else:
            whole += 1
        if version not in versions:
            versions.append(version)
    print(json.dumps({"looks": looks, "whole": whole, "versions": versions, "faults": faults[:20]}), flush=True)


if __name__ == "__main__":
    main()
