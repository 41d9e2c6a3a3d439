"""The code location of this platform."""

from wordtide.dagster.definitions import build_definitions, defs

__all__ = ["build_definitions", "defs"]
