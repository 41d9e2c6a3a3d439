"""Hooks into the steps of a batch."""

from tests.invariants.conftest import at

__all__ = ["at"]
