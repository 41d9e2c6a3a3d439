"""The live view: pure functions from looks at streams to what a terminal shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from wordtide.cli.show import visible
from wordtide.demo.watch import StreamView

_BLOCKS = " ▁▂▃▄▅▆▇█"
_NARROWEST = 38
_FRAME_LINES = 8
"""Lines of a panel besides its top words: two of frame and six of figures."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What surrounds the streams.

    Attributes:
        elapsed: Seconds since the text began to flow.
        dagster: Address of Dagster's web page.
        phase: What is going on.
    """

    elapsed: float
    dagster: str
    phase: str


def render(scene: Scene, views: Sequence[StreamView], width: int, height: int) -> RenderableType:
    """Return the whole view for a terminal of ``width`` × ``height`` characters."""
    columns = columns_for(len(views), width)
    rows = -(-len(views) // columns)
    words = max(1, min(20, (height - 3) // max(1, rows) - _FRAME_LINES))
    inner = width // columns - 4
    grid = Table.grid(expand=True)
    for _ in range(columns):
        grid.add_column(ratio=1)
    for row in range(rows):
        grid.add_row(*(_panel(view, inner, words) for view in views[row * columns : (row + 1) * columns]))
    return Group(_header(scene, width), grid)


def columns_for(streams: int, width: int) -> int:
    """Return how many panels stand side by side: up to three in a row, from four on as much of a square as fits."""
    wanted = streams if streams <= 3 else math.ceil(math.sqrt(streams))
    return max(1, min(wanted, width // _NARROWEST))


def plain_line(scene: Scene, views: Sequence[StreamView]) -> str:
    """Return the view as one line, for logs."""
    return f"{clock(scene.elapsed)} {scene.phase} | " + " | ".join(_plain(view) for view in views)


def clock(seconds: float) -> str:
    """Return minutes and seconds, with hours when there are any."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def duration(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def sparkline(values: Sequence[int]) -> str:
    """Return one character a value, scaled to the highest; what is not nothing is never invisible."""
    highest = max(values, default=0)
    if highest <= 0:
        return " " * len(values)
    return "".join(_BLOCKS[-(-max(0, value) * (len(_BLOCKS) - 1) // highest)] for value in values)


def _header(scene: Scene, width: int) -> Text:
    head = Text.assemble(
        (" wordtide ", "bold reverse cyan"),
        f"  {clock(scene.elapsed)}  {scene.phase}  ",
        ("Dagster ", "dim"),
        (scene.dagster, f"underline link {scene.dagster}"),
        ("  Ctrl-C ends it", "dim"),
    )
    head.truncate(width, overflow="ellipsis")
    head.append("\n")
    return head


def _panel(view: StreamView, width: int, words: int) -> Panel:
    latency = f"{duration(view.latency[0])} / {duration(view.latency[1])}" if view.latency else "–"
    batch = f"{view.batch:,} in {duration(view.batch_seconds or 0)} ({view.engine})" if view.batch else "–"
    figures = Table.grid(padding=(0, 1))
    figures.add_column(style="dim", no_wrap=True, min_width=7)
    figures.add_column(no_wrap=True, overflow="ellipsis")
    figures.add_row("counted", Text(f"{view.words:,} words", style="bold green"))
    figures.add_row("", f"{view.lines:,} lines, {view.distinct:,} distinct")
    figures.add_row("lag", _lag(view))
    figures.add_row("batch", batch)
    figures.add_row("latency", Text.assemble(latency, ("  median / p95", "dim")))
    spark = sparkline(view.history[-max(4, width - 22) :])
    figures.add_row("words/s", Text.assemble((spark, "cyan"), f" {view.rate:,.0f}"))
    body: list[RenderableType] = [figures]
    if view.problem is not None:
        body.append(Text(view.problem, style="yellow", overflow="ellipsis", no_wrap=True))
        words -= 1
    body.append(_top(view, width, words))
    title = Text.assemble((view.name, "bold"), "  ", (view.source, "dim"))
    title.truncate(width - 2, overflow="ellipsis")
    return Panel(Group(*body), title=title, title_align="left", border_style="cyan", height=words + _FRAME_LINES)


def _lag(view: StreamView) -> Text:
    if view.lag is None:
        return Text("–")
    unit = view.unit.removesuffix("s") if view.lag == 1 else view.unit
    return Text(f"{view.lag:,} {unit}", style="" if view.lag else "dim")


def _top(view: StreamView, width: int, words: int) -> Table:
    shown = view.top[: max(0, words)]
    highest = shown[0][1] if shown else 1
    # What is left beside a word of 14, a count and the gaps between.
    room = max(1, width - 28)
    table = Table.grid(padding=(0, 1))
    table.add_column(width=14, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", width=10, no_wrap=True)
    table.add_column(no_wrap=True)
    for word, count in shown:
        table.add_row(visible(word), f"{count:,}", Text("█" * max(1, count * room // highest), style="blue"))
    return table


def _plain(view: StreamView) -> str:
    parts = [f"{view.name}: {view.lines} lines, {view.words} words"]
    parts.append(f"lag {'unknown' if view.lag is None else f'{view.lag} {view.unit}'}")
    if view.batch_seconds is not None:
        parts.append(f"batch {view.batch} {duration(view.batch_seconds)}")
    if view.latency:
        parts.append(f"latency {duration(view.latency[0])}/{duration(view.latency[1])}")
    if view.top:
        parts.append("top " + " ".join(f"{visible(word).plain}={count}" for word, count in view.top[:3]))
    if view.problem:
        parts.append(view.problem)
    return ", ".join(parts)
