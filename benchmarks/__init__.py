"""Wordtide measured against what its users would otherwise write; `make bench`, not part of the tests."""

import wordtide  # noqa: F401  Before numpy, as in every process of ours.
