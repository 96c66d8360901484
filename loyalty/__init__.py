"""Members, points ledger and redemption of loyalty programmes, by telephone, web and API."""
