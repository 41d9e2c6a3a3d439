"""Which offsets a batch takes, what is parked, and how caps are shared. Pure: no broker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from wordtide.core.model import Batch, Counted, KafkaSplit, Parked, SplitProof, Transaction
from wordtide.core.position import Offsets
from wordtide.sources.kafka.plan import (
    KafkaPlan,
    Known,
    PartitionRange,
    TopicIdentity,
    TopicSnapshot,
    cut,
    fair_shares,
    plan_kafka,
    shortened,
)

NEWS = TopicIdentity("cluster", "id", "news")
Ranges = Mapping[int, tuple[int, int] | tuple[int, int, int]]


def plan(
    offered: Ranges,
    positions: Mapping[int, int],
    *,
    parked: frozenset[str] = frozenset(),
    cap: int = 1000,
    bound: Mapping[int, int] | None = None,
    identity: TopicIdentity = NEWS,
    silent: Mapping[int, str] | None = None,
    known: Known | None = None,
) -> KafkaPlan:
    seen = TopicSnapshot(identity, {number: PartitionRange(*ends) for number, ends in offered.items()}, silent or {})
    return plan_kafka(seen, NEWS, positions, cap, known or Known(parked, bound=bound))


def taken(found: KafkaPlan) -> dict[int, tuple[int, int]]:
    return {split.partition: (split.start, split.end) for split in found.splits}


def test_a_plan_takes_from_the_position_to_the_end() -> None:
    found = plan({0: (0, 10), 1: (5, 9)}, {0: 4, 1: 9})
    assert found == KafkaPlan((KafkaSplit("news", 0, 4, 10),), (), 0)


def test_a_partition_without_a_position_is_new_and_starts_at_0() -> None:
    assert taken(plan({0: (0, 3), 1: (0, 2)}, {0: 3})) == {1: (0, 2)}


def test_a_new_partition_that_has_already_lost_records_is_parked_with_what_is_lost() -> None:
    [lost] = plan({1: (4, 9)}, {}).parked
    assert (lost.what, lost.split) == ("news/1", KafkaSplit("news", 1, 0, 4))


def test_retention_past_the_position_parks_the_exact_range_and_the_others_flow() -> None:
    found = plan({0: (7, 20), 1: (0, 2)}, {0: 3, 1: 0})
    [lost] = found.parked
    assert (lost.what, lost.split) == ("news/0", KafkaSplit("news", 0, 3, 7))
    assert "[3, 7)" in lost.reason
    assert taken(found) == {1: (0, 2)}


def test_an_end_before_the_position_parks_what_was_counted_and_is_gone() -> None:
    [lost] = plan({0: (0, 5)}, {0: 8}).parked
    assert (lost.what, lost.split) == ("news/0", KafkaSplit("news", 0, 5, 8))


def test_a_begin_at_the_position_loses_nothing() -> None:
    assert plan({0: (5, 5)}, {0: 5}) == KafkaPlan((), (), 0)


def test_another_topic_id_parks_the_topic_and_takes_nothing() -> None:
    found = plan({0: (0, 50)}, {0: 3}, identity=TopicIdentity("cluster", "other", "news"))
    [parked] = found.parked
    assert (parked.what, parked.split, found.splits) == ("news", None, ())
    assert "id" in parked.reason
    assert "other" in parked.reason


def test_what_is_parked_is_neither_taken_nor_parked_again() -> None:
    offered = {0: (7, 20), 1: (0, 2)}
    assert plan(offered, {0: 3, 1: 0}, parked=frozenset({"news/0"})) == KafkaPlan((KafkaSplit("news", 1, 0, 2),), (), 0)
    other = TopicIdentity("cluster", "other", "news")
    assert plan(offered, {}, parked=frozenset({"news"}), identity=other) == KafkaPlan((), (), 0)


def test_a_run_by_hand_takes_nothing_from_beyond_its_bounds() -> None:
    found = plan({0: (0, 10), 1: (0, 10), 2: (0, 10)}, {0: 0, 1: 6}, bound={0: 4, 1: 5})
    assert taken(found) == {0: (0, 4)}
    assert not found.behind


def test_what_a_cap_leaves_out_is_backlog() -> None:
    found = plan({0: (0, 100), 1: (0, 10)}, {0: 0, 1: 0}, cap=40)
    assert taken(found) == {0: (0, 30), 1: (0, 10)}
    assert (found.backlog, found.behind) == (70, True)


def test_what_waits_behind_an_open_transaction_is_held_and_the_others_flow() -> None:
    found = plan({0: (0, 40, 90), 1: (0, 3, 3)}, {0: 40, 1: 0})
    assert taken(found) == {1: (0, 3)}
    [held] = found.held
    assert held.line == "news/0: held back by an open transaction at offset 40: 50 offsets wait behind it"
    assert (held.parked.split, held.usual, held.recorded) == (KafkaSplit("news", 0, 40, 90), True, False)


def test_what_can_still_be_taken_is_taken_before_anything_is_held() -> None:
    found = plan({0: (0, 40, 90)}, {0: 30})
    assert (taken(found), found.held) == ({0: (30, 40)}, ())


def test_a_held_position_is_recorded_and_a_later_one_is_another_episode() -> None:
    for recorded_at, recorded in ((40, True), (39, False)):
        [held] = plan({0: (0, 40, 90)}, {0: 40}, known=Known(stalled={"news/0": recorded_at})).held
        assert held.recorded is recorded


def test_a_partition_that_does_not_answer_is_held_and_the_others_flow() -> None:
    found = plan({1: (0, 3)}, {0: 7, 1: 0}, silent={0: "no leader"})
    assert taken(found) == {1: (0, 3)}
    [held] = found.held
    assert held.line == "news/0: no leader; going on at offset 7 when it answers"
    assert (held.parked.split, held.usual) == (KafkaSplit("news", 0, 7, 7), False)


def test_a_partition_that_gave_nothing_is_left_out_but_what_it_lost_is_parked() -> None:
    left_out = Known(left_out={0: "nothing arrived for 30 s"})
    found = plan({0: (0, 9), 1: (0, 3)}, {0: 4}, known=left_out)
    assert taken(found) == {1: (0, 3)}
    assert [held.parked.split for held in found.held] == [KafkaSplit("news", 0, 4, 9)]
    found = plan({0: (6, 9)}, {0: 4}, known=left_out)
    assert ([parked.what for parked in found.parked], found.held) == (["news/0"], ())


def test_what_is_parked_is_not_held() -> None:
    waiting = Known(frozenset({"news/0", "news/1"}))
    assert plan({0: (0, 4, 9)}, {0: 4}, silent={1: "no leader"}, known=waiting) == KafkaPlan((), (), 0)


def test_a_gap_is_parked_after_what_is_before_it() -> None:
    gap = Known(gaps={0: (4, 6)})
    found = plan({0: (0, 9), 1: (0, 2)}, {}, known=gap)
    assert (taken(found), found.parked) == ({0: (0, 4), 1: (0, 2)}, ())
    found = plan({0: (0, 9), 1: (0, 2)}, {0: 4, 1: 2}, known=gap)
    [parked] = found.parked
    assert (parked.what, parked.split, found.splits) == ("news/0", KafkaSplit("news", 0, 4, 6), ())
    assert "[4, 6)" in parked.reason
    assert taken(plan({0: (0, 9)}, {0: 6}, known=gap)) == {0: (6, 9)}


SIZES = st.lists(st.integers(0, 1000), max_size=12)


def test_what_cannot_be_decoded_is_parked_after_what_is_before_it() -> None:
    damage = Parked("news/0", "offsets [5, 8) cannot be read: bad", KafkaSplit("news", 0, 5, 8))
    known = Known(damaged={0: damage})
    before = plan({0: (0, 10), 1: (0, 3)}, {0: 2, 1: 0}, known=known)
    assert (taken(before), before.parked) == ({0: (2, 5), 1: (0, 3)}, ())
    at = plan({0: (0, 10), 1: (0, 3)}, {0: 5, 1: 3}, known=known)
    assert (taken(at), at.parked) == ({}, (damage,))
    behind = plan({0: (0, 10)}, {0: 8}, known=known)
    assert (taken(behind), behind.parked) == ({0: (8, 10)}, ())


def test_a_batch_that_was_found_too_large_is_planned_as_far_as_it_fits() -> None:
    known = Known(fitting={0: 6, 1: 2})
    assert taken(plan({0: (0, 10), 1: (0, 9)}, {0: 4, 1: 2}, known=known)) == {0: (4, 6), 1: (2, 9)}


def planned(**ranges: tuple[int, int]) -> Batch:
    """Return a batch of partitions (p0, p1 …) with these ranges, of which partition 2 is new."""
    splits = tuple(KafkaSplit("news", int(name[1:]), *ends) for name, ends in ranges.items())
    transactions = tuple(
        Transaction(f"k/{split.partition}", None if split.partition == 2 else split.start, split.end)
        for split in splits
    )
    position = Offsets({7: 70, **{split.partition: split.end for split in splits}})
    number = Transaction("wordtide/batch", 3, 4)
    return Batch("s", 4, "a", datetime(2026, 1, 1, tzinfo=UTC), 3, splits, (number, *transactions), position=position)


def counted(batch: Batch, *reached: int) -> Counted:
    splits = [split for split in batch.splits if isinstance(split, KafkaSplit)]
    proofs = tuple(SplitProof(replace(split, end=end), 0) for split, end in zip(splits, reached, strict=True))
    return Counted((), proofs, 0, 0, 0, "local")


def test_a_batch_that_ends_early_takes_what_was_read_and_leaves_out_partitions_without_any() -> None:
    batch = planned(p0=(0, 10), p1=(5, 9), p2=(0, 4))
    kept, proven = shortened(batch, counted(batch, 6, 5, 0))
    assert kept.splits == (KafkaSplit("news", 0, 0, 6),)
    assert kept.transactions == (batch.transactions[0], Transaction("k/0", 0, 6))
    assert str(kept.position) == "0:6 1:5 7:70"
    assert kept.backlog == 12
    assert [proof.split for proof in proven.proofs] == list(kept.splits)


def test_what_was_read_whole_is_not_shortened() -> None:
    batch = planned(p0=(0, 10), p2=(0, 4))
    assert shortened(batch, counted(batch, 10, 4))[0] == batch


@given(SIZES, st.integers(1, 3000))
def test_shares_use_the_cap_and_nobody_gets_more_than_another_who_wants_some(sizes: list[int], cap: int) -> None:
    shares = fair_shares(sizes, cap)
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    assert sum(shares) == min(sum(sizes), cap)
    hungry = [share for share, size in zip(shares, sizes, strict=True) if share < size]
    assert not hungry or max(shares) <= min(hungry) + 1


@given(st.dictionaries(st.integers(0, 9), st.integers(0, 50), max_size=6), st.integers(1, 40))
def test_plan_after_plan_takes_every_offset_once(ends: dict[int, int], cap: int) -> None:
    positions: dict[int, int] = {}
    offered = {number: (0, end) for number, end in ends.items()}
    for _ in range(sum(ends.values()) + 1):
        found = plan(offered, positions, cap=cap)
        assert not found.parked
        assert sum(split.end - split.start for split in found.splits) <= cap
        for split in found.splits:
            assert split.start == positions.get(split.partition, 0)
            positions[split.partition] = split.end
        if not found.splits:
            break
    assert positions == {number: end for number, end in ends.items() if end}


@given(st.integers(0, 100), st.integers(1, 200), st.integers(1, 50))
def test_pieces_of_a_range_are_the_range(start: int, length: int, piece: int) -> None:
    pieces = cut(KafkaSplit("news", 0, start, start + length), piece)
    offsets = [offset for one in pieces for offset in range(one.start, one.end)]
    assert offsets == list(range(start, start + length))
    assert max(one.end - one.start for one in pieces) <= piece


def test_positions_are_kept_by_cluster_topic_id_and_partition() -> None:
    assert NEWS.app_id(3) == "kafka/cluster/id/3"
