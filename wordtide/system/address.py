"""Where a line server is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from wordtide.core.problems import ConfigError


@dataclass(frozen=True, slots=True)
class Server:
    """Where the lines come from.

    Attributes:
        host: A name or an address.
        port: TCP port.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Server:
        """Return the server of ``host:port`` or ``[IPv6]:port``.

        Raises:
            ConfigError: It is neither.
        """
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:/\[\]]+)):(\d{1,5})", text, re.ASCII)
        if match is None or not 0 < int(match[3]) < 65536:
            raise ConfigError(f"{text!r} is not HOST:PORT")
        host = match[1] or match[2]
        try:
            host.encode("idna")
        except UnicodeError:
            raise ConfigError(f"{text!r}: {host!r} is no host name") from None
        return cls(host, int(match[3]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
