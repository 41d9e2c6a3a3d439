"""How results are shown: JSON for programs, tables for people."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_WIDEST = 32
"""Characters of a cell; a word, its count and its bar fit 80 columns."""
_LONGEST = 200
"""Characters of a word or path that a table shows at most; terminals are narrower."""


def print_json(value: Any) -> None:
    """Print a value as one line of JSON; times become ISO 8601."""
    # ASCII only: control characters, U+2028 and the like reach no terminal raw, and any encoding of stdout will do.
    sys.stdout.write(json.dumps(value, default=_plain) + "\n")


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def console() -> Console:
    """Return where tables for people go; colour only on a terminal and without NO_COLOR."""
    return Console(highlight=False)


def table(*columns: str, numbers: tuple[str, ...] = (), fill: bool = False) -> Table:
    """Return an empty table.

    Args:
        columns: Headings.
        numbers: Which of them are right-aligned.
        fill: Whether the last column gets whatever width is left.
    """
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in columns:
        numeric = column in numbers
        made.add_column(
            column,
            justify="right" if numeric else "left",
            # Where the terminal is too narrow texts give way, numbers never: half a number is another one.
            no_wrap=numeric,
            overflow="ellipsis",
            max_width=None if numeric or fill else _WIDEST,
        )
    if fill:
        made.columns[-1].ratio = 1
        made.expand = True
    return made


def visible(text: str) -> Text:
    """Return a word or path as it may be put on a terminal: what would act or hide there is escaped."""
    if not text:
        return Text("(empty)", style="dim")
    return Text(_printable(text[:_LONGEST]) + ("…" if len(text) > _LONGEST else ""))


def sentence(text: str) -> Text:
    """Return a sentence with names in it, uncut."""
    return Text(_printable(text))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cell(text: str) -> Text:
    """Return a word, name or path for a table: on one line, cut where its column ends."""
    shown = visible(text) if text else Text()
    shown.no_wrap, shown.overflow = True, "ellipsis"
    return shown


def indented(text: Text) -> Padding:
    """Return text that stays to the right of its heading, however often it is broken."""
    return Padding(text, (0, 0, 0, 2))


def local_time(moment: datetime | None) -> str:
    """Return a time of today as this machine's clock shows it, an older one with its date."""
    if moment is None:
        return ""
    here = moment.astimezone()
    today = here.date() == datetime.now().astimezone().date()
    return here.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def short_time(moment: datetime) -> str:
    """Return the same in a column's width: an older time without its seconds or its hour."""
    here, now = moment.astimezone(), datetime.now().astimezone()
    if here.date() == now.date():
        return here.strftime("%H:%M:%S")
    return here.strftime("%m-%d %H:%M" if here.year == now.year else "%Y-%m-%d")


def number(value: int | None) -> str:
    """Return a count with its thousands apart."""
    return "" if value is None else f"{value:,}"
