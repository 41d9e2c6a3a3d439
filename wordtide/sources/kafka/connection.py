"""Where the servers are: plain values that ship to Spark executors, filled from the environment or by a resource."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from wordtide.core.problems import ConfigError

_PREFIX = "WORDTIDE_KAFKA_"


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """How to reach a Kafka cluster; one value for both clients.

    Attributes:
        bootstrap: ``host:port[,host:port…]``.
        security_protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        sasl_mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 when SASL is used.
        username: SASL user.
        password: SASL password; kept out of ``repr``.
        ca_file: Path of a PEM file for TLS, if the system's certificates are not enough.
    """

    bootstrap: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = ""
    username: str = ""
    password: str = ""
    ca_file: str = ""

    def __repr__(self) -> str:
        return f"KafkaConnection({self.bootstrap!r}, {self.security_protocol})"

    @classmethod
    def from_environment(cls) -> KafkaConnection | None:
        """Return the cluster named by ``WORDTIDE_KAFKA_BOOTSTRAP`` and its siblings, or None.

        Raises:
            ConfigError: The bootstrap address is not ``host:port``.
        """
        bootstrap = os.environ.get(_PREFIX + "BOOTSTRAP", "").strip()
        if not bootstrap:
            return None
        for server in bootstrap.split(","):
            host, _, port = server.strip().rpartition(":")
            if not host or not port.isdigit():
                raise ConfigError(f"{_PREFIX}BOOTSTRAP: {server.strip()!r} is not host:port")
        return cls(
            bootstrap,
            os.environ.get(_PREFIX + "SECURITY_PROTOCOL", "PLAINTEXT"),
            os.environ.get(_PREFIX + "SASL_MECHANISM", ""),
            os.environ.get(_PREFIX + "USERNAME", ""),
            os.environ.get(_PREFIX + "PASSWORD", ""),
            os.environ.get(_PREFIX + "CA_FILE", ""),
        )

    def kafka_python(self) -> dict[str, Any]:
        """Return the settings by the names of kafka-python."""
        settings = {
            "bootstrap_servers": self.bootstrap.split(","),
            "security_protocol": self.security_protocol,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password,
            "ssl_cafile": self.ca_file,
        }
        return {key: value for key, value in settings.items() if value}

    def librdkafka(self) -> dict[str, Any]:
        """Return the settings by the names of librdkafka."""
        settings = {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": self.security_protocol,
            "sasl.mechanism": self.sasl_mechanism,
            "sasl.username": self.username,
            "sasl.password": self.password,
            "ssl.ca.location": self.ca_file,
        }
        return {key: value for key, value in settings.items() if value}
