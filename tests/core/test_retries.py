"""When what has failed is tried again."""

from wordtide.core.retries import Retries


def test_each_failure_doubles_the_pause_up_to_the_longest():
    retries = Retries(1.0, 5.0)
    now, pauses = 0.0, []
    for _ in range(5):
        assert retries.due("a", now)
        retries.failed("a", now)
        pauses.append(retries.waits["a"][0] - now)
        assert not retries.due("a", retries.waits["a"][0] - 0.1)
        now = retries.waits["a"][0]
    assert pauses == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_what_is_not_kept_begins_anew():
    retries = Retries(1.0, 5.0)
    retries.failed("a", 0.0)
    retries.failed("b", 0.0)
    retries.keep({"b"})
    assert retries.due("a", 0.0)
    assert not retries.due("b", 0.0)
