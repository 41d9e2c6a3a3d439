"""Wordtide measured against what its users would otherwise write; `make bench`, not part of the tests."""
