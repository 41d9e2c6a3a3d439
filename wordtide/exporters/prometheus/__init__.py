"""Figures for Prometheus: from the ledger what happened, from source and table what is now."""
