"""What Dagster shows of names."""

import pytest

from wordtide.dagster.labels import quoted


@pytest.mark.parametrize("name", ["news", "hdfs:///landing/articles", "/var/log/a_b/c-d.e"])
def test_a_plain_name_is_shown_as_it_is(name):
    assert quoted(name) == name


@pytest.mark.parametrize("name", ["/data/_in_/x", "/data/*", "a_", "~/in", "<in>"])
def test_a_name_that_markdown_would_change_is_put_in_backticks(name):
    assert quoted(name) == f"`{name}`"
