"""Where Kafka is."""

import dagster as dg
from pydantic import Field

from wordtide.sources.kafka.connection import KafkaConnection
from wordtide.wiring import kafka_connection


class KafkaResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A Kafka cluster; secrets come as `dg.EnvVar`."""

    bootstrap_servers: str = Field(
        default="",
        description="host:port[,host:port…]; empty: WORDTIDE_KAFKA_BOOTSTRAP, else the running embedded broker.",
    )
    security_protocol: str = Field(default="PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.")
    sasl_mechanism: str = Field(default="", description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.")
    username: str = Field(default="", description="SASL user.")
    password: str = Field(default="", description="SASL password; give it as dg.EnvVar.")
    ca_file: str = Field(default="", description="PEM file for TLS, if the system's certificates are not enough.")

    def connection(self) -> KafkaConnection:
        """Return the connection values for both clients.

        Raises:
            ConfigError: No address is configured and no embedded broker runs.
        """
        if not self.bootstrap_servers:
            return kafka_connection()
        return KafkaConnection(
            self.bootstrap_servers,
            self.security_protocol,
            self.sasl_mechanism,
            self.username,
            self.password,
            self.ca_file,
        )
