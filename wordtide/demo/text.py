"""Lines of real text, all in the public domain: Shakespeare to Melville, Pushkin, Goethe, Verlaine."""

from __future__ import annotations

import random
from collections.abc import Iterator
from importlib.resources import files


def lines() -> list[bytes]:
    """Return every line of the texts that come with the package, as UTF-8."""
    found: list[bytes] = []
    for text in sorted(files("wordtide.demo").joinpath("data").iterdir(), key=lambda text: text.name):
        found += text.read_bytes().splitlines()
    return found


def endless(seed: int | None = None) -> Iterator[bytes]:
    """Yield lines for ever, in random order."""
    known = lines()
    chance = random.Random(seed)  # noqa: S311 - a demonstration needs no secrecy
    while True:
        yield chance.choice(known)
