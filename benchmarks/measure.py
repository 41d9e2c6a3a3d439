"""Values measured, how they compare, and how that is written down. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Measure:
    """One quantity, measured several times.

    Attributes:
        value: What is compared; the median unless said otherwise.
        low: The smallest of the repetitions.
        high: The largest.
        times: How many there were.
        unit: Of all of them.
    """

    value: float
    low: float
    high: float
    times: int
    unit: str

    @classmethod
    def of(cls, values: Sequence[float], unit: str) -> Measure:
        """Return the median of repetitions with their spread."""
        if not values:
            raise ValueError("nothing was measured")
        return cls(median(values), min(values), max(values), len(values), unit)

    def __str__(self) -> str:
        if self.times == 1:
            return f"{_short(self.value)} {self.unit}"
        return f"{_short(self.value)} [{_short(self.low)} – {_short(self.high)}] {self.unit}"


@dataclass(frozen=True, slots=True)
class Target:
    """What a row is to reach: a bound of the ratio ours : peer, or of our own value where there is no peer."""

    bound: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Return whether a value is within the bound."""
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the results. Without a target it is there for the reader's interest."""

    what: str
    ours: Measure
    peer: Measure | None = None
    target: Target | None = None

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's."""
        return None if self.peer is None else self.ours.value / self.peer.value

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return self.target.met(self.ours.value if self.ratio is None else self.ratio)

    def cells(self) -> list[str]:
        """Return the row's cells as they stand in the results."""
        return [
            self.what,
            str(self.ours),
            "" if self.peer is None else str(self.peer),
            "" if self.ratio is None else f"{self.ratio:.2f} ×",
            self._wanted(),
            {None: "", True: "yes", False: "**no**"}[self.met],
        ]

    def _wanted(self) -> str:
        if self.target is None:
            return ""
        unit = "×" if self.peer else self.ours.unit
        return f"{'≥' if self.target.at_least else '≤'} {self.target.bound:g} {unit}"


@dataclass(frozen=True, slots=True)
class Section:
    """What one benchmark found: a title, its rows, and how it was measured."""

    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


HEADINGS = ("what", "ours", "peer", "ours : peer", "target", "met")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [list(headings), ["---"] * len(headings), *map(list, rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least ``percent`` of 100 of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def interval_of_median(values: Sequence[float]) -> tuple[float, float]:
    """Return an interval that holds the median with at least 95 %, whatever the distribution (order statistics).

    Raises:
        ValueError: Fewer than six values; no interval of theirs is that sure.
    """
    count = len(values)
    below = 0.0
    rank = 0
    # The median lies below the rank-th smallest value if fewer than `rank` of the values lie below it.
    while (below := below + math.comb(count, rank) * 0.5**count) <= 0.025:
        rank += 1
    if not rank:
        raise ValueError(f"{count} values are too few")
    ordered = sorted(values)
    return ordered[rank - 1], ordered[count - rank]


def _short(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
