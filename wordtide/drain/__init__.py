"""Takes batch after batch until the source is quiet."""

from wordtide.drain.loop import Drain, Engine, Step, Summary

__all__ = ["Drain", "Engine", "Step", "Summary"]
