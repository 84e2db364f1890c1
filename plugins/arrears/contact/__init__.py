"""When and how borrowers may be reached."""
