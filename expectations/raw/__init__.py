"""What must be true of the differences that a drop brought, before they become known."""
