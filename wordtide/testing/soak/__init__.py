"""A soak: every fault the kit has, at random, while two drains run and are killed; then everything must add up."""

from wordtide.testing.soak.run import SoakReport, soak

__all__ = ["SoakReport", "soak"]
