import socket
import subprocess
import sys
from pathlib import Path

import pytest

from wordtide.system.ports import Reservations, choose, listening


def test_the_first_wanted_port_that_can_be_had_is_chosen() -> None:
    assert choose([0, 9092, 9093], lambda port: port == 9093, lambda: 1) == 9093


def test_when_no_wanted_port_can_be_had_another_is_chosen() -> None:
    others = iter([5, 6])
    assert choose([9092], lambda port: port == 6, lambda: next(others)) == 6


def test_the_search_for_a_port_ends() -> None:
    with pytest.raises(OSError, match="no free port"):
        choose([9092], lambda port: False, lambda: 1)


def test_a_port_somebody_listens_on_is_not_given(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, Reservations(tmp_path / "ports.lock") as reservations:
        taken = other.getsockname()[1]
        assert listening(taken)
        assert reservations.get(taken) != taken


def test_one_cluster_does_not_get_the_same_port_twice(tmp_path: Path) -> None:
    with Reservations(tmp_path / "ports.lock") as reservations:
        first = reservations.get()
        assert reservations.get(first) != first


def test_a_port_promised_by_another_process_is_not_given_until_it_ends(tmp_path: Path) -> None:
    file = tmp_path / "ports.lock"
    code = (
        "import sys, pathlib; from wordtide.system.ports import Reservations\n"
        "with Reservations(pathlib.Path(sys.argv[1])) as r: print(r.get(), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        promised = int(other.stdout.readline())
        with Reservations(file) as reservations:
            assert reservations.get(promised) != promised
        other.communicate("")
    with Reservations(file) as reservations:
        assert reservations.get(promised) == promised
