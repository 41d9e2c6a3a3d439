"""Where lineage is told, if anywhere."""

import dagster as dg
from pydantic import Field

from wordtide.exporters.openlineage.settings import TIMEOUT, LineageSettings, lineage_settings


class OpenLineageResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A backend that takes OpenLineage events over HTTP, such as Marquez. Off unless there is a url."""

    url: str = Field(default="", description="http(s)://host[:port]; empty: OPENLINEAGE_URL; without either: off.")
    endpoint: str = Field(
        default="", description="Path that takes events; empty: OPENLINEAGE_ENDPOINT, else api/v1/lineage."
    )
    api_key: str = Field(
        default="", description="Sent as a bearer token; give it as dg.EnvVar. Empty: OPENLINEAGE_API_KEY, else none."
    )
    namespace: str = Field(
        default="", description="Namespace of the jobs; empty: OPENLINEAGE_NAMESPACE, else wordtide."
    )
    timeout: float = Field(default=TIMEOUT, gt=0, description="Seconds for a connection and for an answer.")

    def settings(self) -> LineageSettings | None:
        """Return the backend, or None where lineage is off.

        Raises:
            ConfigError: The url is none.
        """
        return lineage_settings(self.url, self.endpoint, self.api_key, self.namespace, self.timeout)
