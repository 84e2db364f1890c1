"""Made-up portfolios in the form of the servicing contract."""
