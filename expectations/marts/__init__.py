"""What must be true of the marts before anything is decided on them."""
