"""Extraction: from a lender's drop to raw differences and accepted versions."""
