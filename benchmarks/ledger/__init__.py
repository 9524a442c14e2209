"""The cost of the ledger, and its durability when the gateway is killed."""
