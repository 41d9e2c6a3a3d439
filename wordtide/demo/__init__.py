"""The demonstration: real text in, a live view, and a recount at the end that trusts nothing of ours."""
