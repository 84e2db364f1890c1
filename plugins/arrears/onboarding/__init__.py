"""A new lender's system: the folder to start from, and a check of its SELECTs before anything is loaded."""
