"""The daily export: each recipient's queue, whole or not at all, the same bytes whenever it is made.

`stage` renders a day beside the visible exports, `differences` compares it with what is visible, `make_visible`
switches; `changed_since` says what was edited by hand since.
"""

from arrears.export.manifest import code_version
from arrears.export.staging import StagedExport, folder_name, stage
from arrears.export.switching import (
    changed_since,
    differences,
    discard,
    find_staged,
    is_foreign,
    make_visible,
    renew_signature,
)

__all__ = [
    "StagedExport",
    "changed_since",
    "code_version",
    "differences",
    "discard",
    "find_staged",
    "folder_name",
    "is_foreign",
    "make_visible",
    "renew_signature",
    "stage",
]
