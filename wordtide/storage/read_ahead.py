"""Many small files of an HDFS, read ahead by threads while the caller is busy with those before them."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event
from typing import TypeVar

from wordtide.storage.hdfs_client import answer_seconds
from wordtide.system.limits import Call, NoAnswer, Server

T = TypeVar("T")

_READS_AT_ONCE = 32
"""Small files being read: threads that mostly wait, since hdfs-native lets go of the interpreter's lock."""
_AHEAD_BYTES = 32 << 20
"""Of small files read, or being read, before they are asked for: more than one text of the kernel's."""
_FILE_BYTES = 1 << 10
"""What a file costs in memory beside its bytes."""
_HANDFUL_BYTES = 256 << 10
"""Files are handed to a thread in handfuls of this size: a hand-over costs as much as a tenth of reading 10 kB."""

_SWITCH_SECONDS = 0.5e-3
"""How long a thread that reads waits for the interpreter's lock while the caller counts: it needs it for some µs only,
many times a file, and the usual 5 ms made the whole 10 to 20 % slower."""


class _Handful(list[T]):
    """What was read of some files, in their order, as it comes; `ended` once that is all, or reading failed."""

    def __init__(self, files: Sequence[tuple[str, int]], size: int) -> None:
        super().__init__()
        self.files = files
        self.size = size
        self.ended = Event()
        self.problem: BaseException | None = None

    def read(self, read: Callable[[str, int], T]) -> None:
        try:
            for path, length in self.files:
                self.append(read(path, length))
        except BaseException as problem:
            # For whoever waits for it.
            self.problem = problem
        finally:
            self.ended.set()

    def wait(self, server: Server) -> None:
        """Wait for its end, as long as it gets on.

        Raises:
            NoAnswer: It does not.
        """
        seconds = answer_seconds()
        read = len(self)
        while not self.ended.wait(seconds):
            if len(self) == read:
                raise server.no_answer(seconds)
            read = len(self)
        server.answered()
        if self.problem is not None:
            raise self.problem


def read_ahead(
    server: Server, files: Sequence[tuple[str, int]], read: Callable[[str, int], T]
) -> Generator[T, None, None]:
    """Yield what ``read`` returns of each (path, length) in turn.

    Args:
        server: Where they are.
        files: Each fits well into memory.
        read: Reads one, in some thread.

    Raises:
        NoAnswer: The server hangs.
        Exception: Whatever ``read`` raises.
    """
    orders: SimpleQueue[_Handful[T] | None] = SimpleQueue()

    def work() -> None:
        while (handful := orders.get()) is not None:
            handful.read(read)

    readers: list[Call[None]] = []
    started: deque[_Handful[T]] = deque()
    waiting = deque(_handfuls(files))
    ahead = 0
    patience = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        while waiting or started:
            while waiting and ahead < _AHEAD_BYTES:
                handful: _Handful[T] = _Handful(*waiting.popleft())
                started.append(handful)
                ahead += handful.size
                orders.put(handful)
                if len(readers) < _READS_AT_ONCE:
                    readers.append(server.begin(answer_seconds(), work))
            handful = started.popleft()
            handful.wait(server)
            ahead -= handful.size
            yield from handful
    except NoAnswer:
        for reader in readers:
            server.abandon(reader)
        raise
    finally:
        sys.setswitchinterval(patience)
        with suppress(Empty):
            while True:
                orders.get_nowait()
        for _ in readers:
            orders.put(None)


def _handfuls(files: Iterable[tuple[str, int]]) -> Iterator[tuple[list[tuple[str, int]], int]]:
    """Yield the files in order, some at a time, each time with what they cost in memory."""
    size, handful = 0, []
    for path, length in files:
        handful.append((path, length))
        size += length + _FILE_BYTES
        if size >= _HANDFUL_BYTES:
            yield handful, size
            size, handful = 0, []
    if handful:
        yield handful, size
