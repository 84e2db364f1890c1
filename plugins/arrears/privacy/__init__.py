"""Personal data: who it belongs to, and how it is erased when a law asks for it."""
