"""Where HDFS is."""

import dagster as dg
from pydantic import Field

from wordtide.storage import HdfsAddress, Storage, storage_for
from wordtide.wiring import hdfs_address


class HdfsResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """An HDFS; reached by hdfs-native, without a JVM."""

    url: str = Field(
        default="", description="hdfs://host:port; empty: WORDTIDE_HDFS_URL, else the running embedded one."
    )
    webhdfs: str = Field(default="", description="The NameNode's http host:port; empty: port 9870 of the url's host.")

    def address(self) -> HdfsAddress | None:
        """Return the address, or None where there is no HDFS at all."""
        if not self.url:
            return hdfs_address()
        host = self.url.removeprefix("hdfs://").partition(":")[0]
        return HdfsAddress(self.url.rstrip("/"), self.webhdfs or f"{host}:9870")

    def storage(self, location: str) -> tuple[Storage, str]:
        """Return the file system of a local path or hdfs:// URL, and the path on it."""
        return storage_for(location, self.address())
