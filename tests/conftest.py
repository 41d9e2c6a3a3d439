"""Fixtures for all tests: one real broker and one real HDFS a session, and streams of one's own on them."""

from __future__ import annotations

import signal

import pytest

from tests.support import Place

pytest_plugins = ["tests.servers", "wordtide.testing.plugin"]

# What a shell starts in the background inherits an ignored Ctrl-C, and so would everything the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def signals_as_they_were():
    """Whatever a test does with signals ends with it: what later tests start would inherit an ignored one."""
    handled = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in handled.items():
        signal.signal(number, handler)


@pytest.fixture
def place(wordtide_place: Place) -> Place:
    """The servers, and a folder for this test's `streams.yaml`, tables and landed files."""
    return wordtide_place
