"""Brings exports to their recipients: into a local folder, over SFTP, into S3 and what speaks like it.

`deliver` sends what has no receipt, `check` tries the targets, `standing` says how far a date is.
"""

from arrears.delivery.configuration import configured
from arrears.delivery.delivering import Checked, alone, check, deliver, standing

__all__ = ["Checked", "alone", "check", "configured", "deliver", "standing"]
