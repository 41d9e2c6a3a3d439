"""The Delta table: schema, commit protocol, ledger, maintenance."""
