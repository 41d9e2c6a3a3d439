"""Wordtide: Kafka offsets and landed files become word-count tables, exactly once."""

__version__ = "0.1.0"
