"""What gives a table its meaning: another stream under its name is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from wordtide.config import Stream


def fingerprint(stream: Stream, identity: Mapping[str, str]) -> str:
    """Return the hash of what gives the table its meaning: source, tokenizer and window.

    The topic id is not part of it: a recreated topic is parked, which keeps the table usable.
    """
    source = identity.get("topic") or f"{identity['namespace']}:{identity['path']}"
    meaning = {
        "source": f"{stream.source_kind}:{source}",
        "tokenizer": stream.config.tokenizer.value,
        "window": stream.config.window,
    }
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


def describe(stream: Stream) -> str:
    """Return what the fingerprint covers, for a person."""
    return f"tokenizer {stream.config.tokenizer.value}, window {stream.config.window:g} s"
