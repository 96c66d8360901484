"""Members, points ledger and redemption; opens with the loyalty issue."""
