"""The loan-collections pipeline: from what the servicing system knows to the work queues of the morning."""
