"""What every benchmark gets: a folder of its own, the servers, and by how much to shrink."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import Section
from wordtide.embedded.cluster import ClusterAddress, down, up
from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.storage import HdfsAddress
from wordtide.system.ports import Ports


class Servers:
    """A broker and an HDFS of the benchmarks' own, started when first needed."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._address: ClusterAddress | None = None

    @property
    def address(self) -> ClusterAddress:
        """Where they are."""
        if self._address is None:
            self._address = up(self._home, Ports(0, 0, 0, 0))
        return self._address

    @property
    def kafka(self) -> KafkaConnection:
        """How the broker is reached."""
        return KafkaConnection(self.address.kafka)

    @property
    def hdfs(self) -> HdfsAddress:
        """How the HDFS is reached."""
        return HdfsAddress(self.address.hdfs, self.address.webhdfs)

    def stop(self) -> None:
        """End them."""
        if self._address is not None:
            down(self._home)
            self._address = None


@dataclass(frozen=True, slots=True)
class Bench:
    """What a benchmark gets.

    Attributes:
        folder: Empty; removed afterwards.
        servers: Shared by all benchmarks.
        scale: Factor of all sizes and durations; 1 for results that count.
    """

    folder: Path
    servers: Servers
    scale: float = field(default=1.0)

    def scaled(self, amount: int, least: int = 1) -> int:
        """Return an amount at this run's scale."""
        return max(least, round(amount * self.scale))


Benchmark = Callable[[Bench], Section]
