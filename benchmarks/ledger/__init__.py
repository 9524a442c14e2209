"""What the ledger costs, and what of it survives a killed gateway."""
