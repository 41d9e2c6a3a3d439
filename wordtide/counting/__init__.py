"""Counting: bytes become words, words become counts, counts become one sorted table."""
