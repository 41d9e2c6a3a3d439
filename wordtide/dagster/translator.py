"""What Dagster shows of streams: one class names and describes every asset, job, op, schedule and sensor."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from wordtide import __version__
from wordtide.config import SocketConfig, Stream
from wordtide.config.asset_names import Definition, Naming, Part, Role, StreamAsset, asset_path, definition_name
from wordtide.dagster.labels import code_references, freshness, quoted, source_labels, table_labels

STREAM_TAG = "wordtide/stream"


class WordtideTranslator:
    """Names and describes the assets and definitions of streams; override what yours should have otherwise.

    Each method gets the asset (`StreamAsset`) or the definition (`Definition`) that is asked for and returns the same
    each time. Where names collide, the streams are withheld, and the reason is shown at their assets.

    Example:
        Two sets of streams in one project, where the second one's names begin with ``b_``:

        ```python
        class Second(WordtideTranslator):
            def get_asset_key(self, asset: StreamAsset) -> dg.AssetKey:
                return super().get_asset_key(asset).with_prefix("b")

            def get_definition_name(self, definition: Definition) -> str:
                return f"b_{super().get_definition_name(definition)}"

            def get_stream_tag(self, name: str) -> str:
                return f"b_{name}"


        defs = dg.Definitions.merge(
            build_definitions(),
            build_definitions(others, resource_prefix="b_", translator=Second()),
        )
        ```
    """

    def get_asset_spec(self, asset: StreamAsset) -> dg.AssetSpec:
        """Return the whole specification of an asset, made of what the other methods return.

        Example:
            A team that follows tables with an automation condition of its own:

            ```python
            def get_asset_spec(self, asset: StreamAsset) -> dg.AssetSpec:
                spec = super().get_asset_spec(asset)
                return spec.replace_attributes(automation_condition=mine) if asset.part is Part.TABLE else spec
            ```
        """
        drained = asset.stream if asset.part is Part.TABLE else None
        return dg.AssetSpec(
            self.get_asset_key(asset),
            deps=self._deps(asset),
            description=self.get_description(asset),
            kinds=set(self.get_kinds(asset)),
            group_name=self.get_group_name(asset),
            owners=self.get_owners(asset),
            tags=self.get_tags(asset),
            metadata=self.get_metadata(asset),
            code_version=__version__ if drained else None,
            freshness_policy=freshness(drained) if drained else None,
        )

    def get_asset_key(self, asset: StreamAsset) -> dg.AssetKey:
        """Return the key of an asset: ``news/word_counts``, ``kafka/news``, ``landing/articles``, ``socket/wire``.

        A topic that several streams read has one key. The op that materializes a table gets its name from its key.

        Example:
            ```python
            def get_asset_key(self, asset: StreamAsset) -> dg.AssetKey:
                if asset.part is Part.TABLE:
                    return dg.AssetKey(["warehouse", "words", asset.name])
                return super().get_asset_key(asset)
            ```
        """
        return dg.AssetKey(asset_path(asset))

    def get_group_name(self, asset: StreamAsset) -> str | None:
        """Return the group of an asset: its stream, so that the graph shows the way of its words as one lane.

        A topic that several streams read is in the group ``sources``.

        Example:
            ```python
            def get_group_name(self, asset: StreamAsset) -> str | None:
                return "words"
            ```
        """
        if asset.shared:
            return "sources"
        return asset.name if re.fullmatch(r"\w+", asset.name, re.ASCII) else None

    def get_description(self, asset: StreamAsset) -> str:
        """Return what an asset is, in Markdown.

        Example:
            ```python
            def get_description(self, asset: StreamAsset) -> str:
                return f"{super().get_description(asset)} Questions: #words."
            ```
        """
        stream = asset.stream
        if stream is None:
            return f"Withheld: nothing is drained. {asset.problem}"
        topic, folder = stream.config.kafka, quoted(stream.landing or "")
        if asset.part is Part.TABLE:
            return (
                f"Words of {quoted(topic.topic) if topic else folder}, counted exactly once; its ledger rows say from"
                " which offsets or files.\n\n```sql\nSELECT word, sum(count) AS n FROM word_counts\n"
                "WHERE kind = 'count'\nGROUP BY word ORDER BY n DESC\n```"
            )
        if asset.part is Part.SOURCE:
            if topic:
                return f"Kafka topic {quoted(topic.topic)}: a value is a line."
            return f"Landing folder {folder}: whole files, taken once each."
        receiver = stream.receiver
        assert receiver is not None
        if isinstance(receiver, SocketConfig):
            return f"TCP server {receiver.server}: its lines land in files."
        return f"Flume agents, at port {receiver.port}: an event lands as a line."

    def get_owners(self, asset: StreamAsset) -> Sequence[str]:
        """Return who owns an asset, as ``team:words`` or a mail address: the stream's ``owners`` in `streams.yaml`.

        Example:
            ```python
            def get_owners(self, asset: StreamAsset) -> Sequence[str]:
                return [*super().get_owners(asset), "team:platform"]
            ```
        """
        return asset.stream.config.owners or () if asset.stream else ()

    def get_tags(self, asset: StreamAsset) -> Mapping[str, str]:  # noqa: ARG002 (for overriding)
        """Return the tags of an asset: none.

        Example:
            ```python
            def get_tags(self, asset: StreamAsset) -> Mapping[str, str]:
                return {"domain": "news"}
            ```
        """
        return {}

    def get_kinds(self, asset: StreamAsset) -> Sequence[str]:
        """Return the kinds that the graph shows as icons, three at most.

        Example:
            ```python
            def get_kinds(self, asset: StreamAsset) -> Sequence[str]:
                return [*super().get_kinds(asset), "gold"]
            ```
        """
        stream = asset.stream
        if asset.part is Part.TABLE or stream is None:
            return "deltalake", "table"
        if asset.part is Part.RECEIVER:
            return ("socket" if stream.config.socket else "flume",)
        if stream.config.kafka:
            return ("kafka",)
        return ("hadoop" if "://" in (stream.landing or "") else "file",)

    def get_metadata(self, asset: StreamAsset) -> Mapping[str, Any]:
        """Return an asset's metadata: location, columns and their lineage, references to `streams.yaml` and the code.

        Example:
            ```python
            def get_metadata(self, asset: StreamAsset) -> Mapping[str, Any]:
                return {**super().get_metadata(asset), "runbook": dg.MetadataValue.url("https://wiki/words")}
            ```
        """
        stream = asset.stream
        if stream is None:
            return {"problem": asset.problem}
        if asset.part is Part.TABLE:
            return table_labels(stream, self.source_key(stream))
        return source_labels(stream) if asset.part is Part.SOURCE else code_references(stream)

    def get_definition_name(self, definition: Definition) -> str:
        """Return the name of a job, op, schedule or sensor: ``news_drain``, ``news_sensor``, ``wordtide_alerts``.

        Example:
            ```python
            def get_definition_name(self, definition: Definition) -> str:
                if definition.role is Role.DRAIN_JOB:
                    return f"count_{definition.stream}"
                return super().get_definition_name(definition)
            ```
        """
        return definition_name(definition)

    def get_definition_description(self, definition: Definition) -> str:
        """Return what a job, op, schedule or sensor does.

        Example:
            ```python
            def get_definition_description(self, definition: Definition) -> str:
                return f"{super().get_definition_description(definition)} Questions: #words."
            ```
        """
        return _DESCRIPTIONS[definition.role].format(definition.stream)

    def get_definition_tags(self, definition: Definition) -> Mapping[str, str]:  # noqa: ARG002 (for overriding)
        """Return tags of a job, schedule or sensor, beyond the one by which a stream's runs are found: none.

        Example:
            ```python
            def get_definition_tags(self, definition: Definition) -> Mapping[str, str]:
                return {"dagster/priority": "1"} if definition.role is Role.DRAIN_JOB else {}
            ```
        """
        return {}

    def get_stream_tag(self, name: str) -> str:
        """Return the value of the tag ``wordtide/stream``, by which the runs of a stream are found: its name.

        It must differ for each stream of a Dagster instance.

        Example:
            ```python
            def get_stream_tag(self, name: str) -> str:
                return f"b_{name}"
            ```
        """
        return name

    def table_key(self, stream: Stream) -> dg.AssetKey:
        """Return the key of a stream's table, by `get_asset_key`."""
        return self.get_asset_key(StreamAsset.of(stream, Part.TABLE))

    def source_key(self, stream: Stream) -> dg.AssetKey:
        """Return the key of a stream's topic or landing folder, by `get_asset_key`."""
        return self.get_asset_key(StreamAsset.of(stream, Part.SOURCE))

    def receiver_key(self, stream: Stream) -> dg.AssetKey | None:
        """Return the key of what a stream's receiver takes in, by `get_asset_key`; None if it has no receiver."""
        return self.get_asset_key(StreamAsset.of(stream, Part.RECEIVER)) if stream.receiver is not None else None

    def run_tags(self, stream: Stream) -> dict[str, str]:
        """Return the tags by which a stream's runs are found."""
        return {STREAM_TAG: self.get_stream_tag(stream.name)}

    def _deps(self, asset: StreamAsset) -> list[dg.AssetKey]:
        if asset.stream is None or asset.part is Part.RECEIVER:
            return []
        key = self.source_key(asset.stream) if asset.part is Part.TABLE else self.receiver_key(asset.stream)
        return [key] if key is not None else []


def naming_of(translator: WordtideTranslator) -> Naming:
    """Return a translator's names, for those who do not import Dagster."""
    return Naming(lambda asset: translator.get_asset_key(asset).path, translator.get_definition_name)


_DESCRIPTIONS = {
    Role.DRAIN_JOB: "Drains {} into its word_counts table.",
    Role.DRAIN_SENSOR: "Drains {} when something waits.",
    Role.MAINTENANCE_JOB: "Tidies all tables. Drains do it too: this job is for streams that nothing drains.",
    Role.MAINTENANCE_OP: "Merges small files of all tables and deletes what killed attempts left.",
    Role.MAINTENANCE_SCHEDULE: "Tidies all tables once a day.",
    Role.ALERTS_SENSOR: (
        "Tells by webhook or mail, once, what is wrong with a stream and what to do, and when it is over."
    ),
    Role.RETENTION_SENSOR: "Deletes drain runs with their events once they are older than `keep_runs`.",
}
