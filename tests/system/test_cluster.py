import os
from pathlib import Path

import pytest

from wordtide.core.problems import EnvironmentProblem
from wordtide.embedded import cluster
from wordtide.system.cluster import ClusterAddress, Record, Server, read_address, read_record, write_record
from wordtide.system.ports import Ports
from wordtide.system.process import ProcessId

PORTS = Ports(kafka=1, controller=2, hdfs=3, webhdfs=4)


@pytest.fixture
def myself() -> ProcessId:
    """A process that certainly runs."""
    found = ProcessId.of(os.getpid())
    assert found is not None
    return found


def test_what_is_written_is_read_back(tmp_path: Path, myself: ProcessId) -> None:
    record = Record(PORTS, kafka=Server(myself, ready=True), hdfs=None)
    write_record(tmp_path, record)
    assert read_record(tmp_path) == record
    assert [file.name for file in tmp_path.iterdir()] == ["cluster.json"]


def test_the_address_is_known_when_both_servers_live_and_answered(tmp_path: Path, myself: ProcessId) -> None:
    write_record(tmp_path, Record(PORTS, Server(myself, ready=True), Server(myself, ready=True)))
    address = ClusterAddress("127.0.0.1:1", "hdfs://127.0.0.1:3", "127.0.0.1:4")
    assert read_address(tmp_path) == address
    assert cluster.status(tmp_path) == cluster.ClusterStatus(tmp_path, address, address.kafka, address.hdfs)


def test_a_server_that_has_not_answered_yet_does_not_count(tmp_path: Path, myself: ProcessId) -> None:
    write_record(tmp_path, Record(PORTS, Server(myself, ready=True), Server(myself, ready=False)))
    assert read_address(tmp_path) is None
    assert cluster.status(tmp_path) == cluster.ClusterStatus(tmp_path, None, "127.0.0.1:1", None)


def test_a_pid_given_out_again_is_not_taken_for_the_server(tmp_path: Path, myself: ProcessId) -> None:
    other = ProcessId(myself.pid, "some other time")
    write_record(tmp_path, Record(PORTS, Server(myself, ready=True), Server(other, ready=True)))
    assert read_address(tmp_path) is None


def test_down_does_not_end_a_process_that_only_has_the_pid(tmp_path: Path, myself: ProcessId) -> None:
    other = ProcessId(myself.pid, "some other time")
    write_record(tmp_path, Record(PORTS, Server(other, ready=True), Server(other, ready=True)))
    assert cluster.down(tmp_path) is False
    record = read_record(tmp_path)
    assert record == Record(PORTS)


def test_a_home_without_a_cluster_has_no_address_and_stays_untouched(tmp_path: Path) -> None:
    home = tmp_path / "none"
    assert read_address(home) is None
    assert cluster.status(home).address is None
    assert cluster.down(home) is False
    assert not home.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"ports": {"kafka": "x"}, "servers": {}}'])
def test_a_damaged_record_is_one_clear_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "cluster.json").write_text(content)
    with pytest.raises(EnvironmentProblem, match=r"cluster\.json is damaged"):
        read_address(tmp_path)
