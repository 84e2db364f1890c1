"""The audit ledger: an append-only, hash-chained Merkle log of batches, verdicts, exports and their queue lines."""
