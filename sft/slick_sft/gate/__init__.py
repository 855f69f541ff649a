"""The gate: whether a fine-tuning dataset makes a model worse at what it knew, as PASS, FAIL or INCONCLUSIVE."""
