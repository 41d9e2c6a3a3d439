"""Wordtide: Kafka offsets and landed files become word-count tables, exactly once."""

from wordtide.system.cpu_quirks import prepare_numpy

__version__ = "0.1.0"

# Before any module of ours can import numpy.
prepare_numpy()
