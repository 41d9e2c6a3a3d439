"""Which offsets the next batch takes."""

from hypothesis import given
from hypothesis import strategies as st

from wordtide.batch import KafkaSplit, Parked
from wordtide.planning.kafka import PartitionRange, TopicIdentity, TopicSnapshot, cut, fair_shares, plan_kafka

NEWS = TopicIdentity("cluster", "topic-1", "news")


def plan(partitions, positions, *, identity=NEWS, parked=(), cap=1000, bound=None):
    snapshot = TopicSnapshot(identity, {p: PartitionRange(*ends) for p, ends in partitions.items()})
    return plan_kafka(snapshot, NEWS, positions, frozenset(parked), cap, bound)


def test_takes_from_the_position_to_the_end_of_each_partition():
    planned = plan({0: (0, 10), 1: (0, 7)}, {0: 4, 1: 7})
    assert planned.splits == (KafkaSplit("news", 0, 4, 10),)
    assert (planned.parked, planned.backlog, planned.behind) == ((), 0, False)


def test_a_partition_that_was_added_is_taken_from_its_beginning():
    assert plan({0: (0, 4), 1: (0, 3)}, {0: 4}).splits == (KafkaSplit("news", 1, 0, 3),)


def test_records_of_an_added_partition_that_expired_before_we_saw_it_are_a_loss():
    lost = plan({1: (2, 5)}, {}).parked
    assert [(one.what, one.split) for one in lost] == [("news/1", KafkaSplit("news", 1, 0, 2))]


def test_retention_beyond_the_position_parks_the_partition_with_the_exact_range_and_the_rest_flows():
    planned = plan({0: (8, 10), 1: (0, 7)}, {0: 3, 1: 2})
    assert planned.splits == (KafkaSplit("news", 1, 2, 7),)
    reason = "retention passed the position: offsets [3, 8) are lost"
    assert planned.parked == (Parked("news/0", reason, KafkaSplit("news", 0, 3, 8)),)


def test_an_end_before_the_position_parks_the_partition():
    (lost,) = plan({0: (0, 5)}, {0: 9}).parked
    assert lost.what == "news/0"
    assert "[5, 9)" in lost.reason


def test_a_recreated_topic_is_one_parked_thing_and_nothing_is_taken():
    again = TopicIdentity("cluster", "topic-2", "news")
    planned = plan({0: (0, 5), 1: (0, 5)}, {0: 1}, identity=again)
    assert planned.splits == ()
    assert [parked.what for parked in planned.parked] == ["news"]
    assert "topic-2" in planned.parked[0].reason


def test_what_is_parked_is_not_planned_and_not_parked_again():
    assert plan({0: (8, 10), 1: (0, 1)}, {0: 3}, parked=["news/0"]).parked == ()
    again = TopicIdentity("cluster", "topic-2", "news")
    nothing = plan({0: (0, 5)}, {}, identity=again, parked=["news"])
    assert (nothing.splits, nothing.parked) == ((), ())


def test_a_run_by_hand_takes_nothing_beyond_the_ends_it_fixed():
    planned = plan({0: (0, 10), 1: (0, 10)}, {0: 0}, bound={0: 6})
    assert planned.splits == (KafkaSplit("news", 0, 0, 6),)


def test_the_cap_leaves_a_backlog_and_says_so():
    planned = plan({0: (0, 100), 1: (0, 4)}, {}, cap=50)
    assert planned.splits == (KafkaSplit("news", 0, 0, 46), KafkaSplit("news", 1, 0, 4))
    assert (planned.backlog, planned.behind) == (54, True)


@given(st.lists(st.integers(0, 1000), max_size=20), st.integers(0, 5000))
def test_shares_are_fair_and_use_the_whole_cap(sizes, cap):
    shares = fair_shares(sizes, cap)
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    assert sum(shares) == min(cap, sum(sizes))
    hungry = [share for share, size in zip(shares, sizes, strict=True) if share < size]
    assert all(share <= min(hungry) + 1 for share in shares if hungry)


@given(st.integers(0, 100), st.integers(1, 100), st.integers(1, 50))
def test_the_pieces_of_a_range_are_the_range(start, length, records):
    pieces = cut(KafkaSplit("news", 0, start, start + length), records)
    assert [offset for piece in pieces for offset in range(piece.start, piece.end)] == [*range(start, start + length)]
    assert all(0 < piece.end - piece.start <= records for piece in pieces)
