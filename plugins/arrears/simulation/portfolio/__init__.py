"""A lender's whole portfolio, simulated: every table of the contract day by day, and the truth beside it."""
