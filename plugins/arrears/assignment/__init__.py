"""The daily assignment of loans to recipients: `assign` reads candidates and writes decisions, the rest is pure."""

from arrears.assignment.handover import assign

__all__ = ["assign"]
