"""What must be true of assignments and work queues before anybody receives them."""
