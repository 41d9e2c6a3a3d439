"""Sources as they are now: what a topic or a landing folder shows, turned into plans and proofs."""
