"""What the ledger holds, told in OpenLineage's words. The client is imported only where lineage is switched on."""
