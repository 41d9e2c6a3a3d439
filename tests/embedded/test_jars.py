import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import pytest

from tests.support import wait_until
from wordtide.config import PROJECT_ROOT
from wordtide.core.problems import ConfigError, EnvironmentProblem
from wordtide.embedded import jars
from wordtide.embedded.progress import FetchProgress
from wordtide.system.java import find_java
from wordtide.system.locks import exclusive

LOCK = {
    "hdfs/a-1.0.jar": hashlib.sha256(b"a").hexdigest(),
    "kafka/b-2.0.jar": hashlib.sha256(b"b").hexdigest(),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in (("hdfs/a-1.0.jar", b"a"), ("kafka/b-2.0.jar", b"b")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_the_lock_names_every_jar_of_both_servers() -> None:
    lock = jars.parse_lock(files("wordtide.embedded").joinpath("jars.lock").read_text())
    assert "hdfs/hadoop-client-minicluster-3.5.0.jar" in lock
    assert {
        "kafka/kafka_2.13-4.2.0.jar",
        "kafka/slf4j-simple-1.7.36.jar",
        "kafka/snappy-java-1.1.10.7.jar",
    } <= lock.keys()
    assert len(lock) == 47


@pytest.mark.parametrize("line", ["", "abc  kafka/x.jar", f"{'0' * 64}  ../x.jar", f"{'0' * 64} kafka/x.jar"])
def test_a_damaged_lock_line_is_named(line: str) -> None:
    with pytest.raises(EnvironmentProblem, match="line 2"):
        jars.parse_lock(f"{'0' * 64}  kafka/x.jar\n{line}\n")


def test_verified_jars_are_not_missing(folder: Path) -> None:
    assert jars.missing_jars(folder, LOCK) == []


def test_an_absent_jar_is_missing(folder: Path) -> None:
    (folder / "kafka/b-2.0.jar").unlink()
    assert jars.missing_jars(folder, LOCK) == ["kafka/b-2.0.jar"]


def test_a_jar_with_a_wrong_checksum_is_one_clear_line(folder: Path) -> None:
    (folder / "kafka/b-2.0.jar").write_bytes(b"evil")
    with pytest.raises(EnvironmentProblem) as caught:
        jars.missing_jars(folder, LOCK)
    text = str(caught.value)
    expected, actual = LOCK["kafka/b-2.0.jar"], hashlib.sha256(b"evil").hexdigest()
    assert "\n" not in text
    assert all(part in text for part in ("kafka/b-2.0.jar", expected[:12], actual[:12], "delete"))


def test_a_jar_replaced_after_it_was_verified_is_caught(folder: Path) -> None:
    jars.missing_jars(folder, LOCK)
    # Same size: only its mtime tells.
    (folder / "kafka/b-2.0.jar").write_bytes(b"x")
    os.utime(folder / "kafka/b-2.0.jar", ns=(1, 1))
    with pytest.raises(EnvironmentProblem, match=r"not the jar of jars\.lock"):
        jars.missing_jars(folder, LOCK)


def test_a_verified_jar_is_not_hashed_again(folder: Path) -> None:
    jars.missing_jars(folder, LOCK)
    jar = folder / "kafka/b-2.0.jar"
    before = jar.stat()
    jar.write_bytes(b"x")
    os.utime(jar, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert jars.missing_jars(folder, LOCK) == []


def test_a_stamp_for_another_lock_does_not_count(folder: Path) -> None:
    jars.missing_jars(folder, LOCK)
    with pytest.raises(EnvironmentProblem, match=r"not the jar of jars\.lock"):
        jars.missing_jars(folder, {**LOCK, "kafka/b-2.0.jar": "0" * 64})


def test_damaged_stamps_only_mean_hashing_again(folder: Path) -> None:
    (folder / "verified.json").write_text("{")
    assert jars.missing_jars(folder, LOCK) == []


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("WORDTIDE_CACHE", raising=False)
    assert jars.cache_dir() == tmp_path / "xdg" / "wordtide"
    monkeypatch.setenv("WORDTIDE_CACHE", str(tmp_path / "own"))
    assert jars.cache_dir() == tmp_path / "own"


def test_a_user_without_a_home_directory_is_asked_for_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("WORDTIDE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)

    def nobody(_uid: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(ConfigError, match="no home directory; set WORDTIDE_CACHE"):
        jars.cache_dir()


def test_a_tampered_jar_keeps_the_servers_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = find_java()
    real = jars.server_jars(java)
    copy = tmp_path / real.kafka[0].parent.parent.relative_to(real.cache)
    for jar in (*real.kafka, *(jar for jar in real.hdfs if real.cache in jar.parents)):
        target = copy / jar.relative_to(real.kafka[0].parent.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(jar)
    monkeypatch.setenv("WORDTIDE_CACHE", str(tmp_path))
    assert jars.server_jars(java).cache == tmp_path
    victim = copy / "kafka" / "jose4j-0.9.6.jar"
    victim.unlink()
    victim.write_bytes(b"evil")
    with pytest.raises(EnvironmentProblem, match=r"kafka/jose4j-0\.9\.6\.jar is not the jar"):
        jars.server_jars(java)


def test_without_a_network_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        repository = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    settings = tmp_path / "ivysettings.xml"
    settings.write_text(
        '<ivysettings><settings defaultResolver="mirror"/><resolvers>'
        f'<ibiblio name="mirror" m2compatible="true" root="{repository}"/></resolvers></ivysettings>'
    )
    monkeypatch.setenv("WORDTIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WORDTIDE_IVY_SETTINGS", str(settings))
    with pytest.raises(EnvironmentProblem, match=r"cannot fetch the servers' jars \(.+\): check the network") as caught:
        jars.server_jars(find_java())
    assert "\n" not in str(caught.value)


@pytest.fixture
def fetching(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path, int]]:
    """A `wordtide up` that fetches with a Java that does nothing, its cache, and that Java's process id."""
    java = tmp_path / "java" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(
        "#!/bin/sh\n"
        '[ "$1" = -version ] && echo \'openjdk version "17"\' >&2 && exit\n'
        f"echo $$ > {tmp_path}/pid.new && mv {tmp_path}/pid.new {tmp_path}/pid && exec sleep 60\n"
    )
    java.chmod(0o755)
    (tmp_path / "streams.yaml").write_text("streams: {}\n")
    cache = tmp_path / "cache"
    places = {"JAVA_HOME": tmp_path / "java", "WORDTIDE_CACHE": cache, "WORDTIDE_STREAMS": tmp_path / "streams.yaml"}
    environment = {**os.environ, **{name: str(place) for name, place in places.items()}}
    environment.pop("WORDTIDE_HOME", None)
    up = subprocess.Popen([sys.executable, "-m", "wordtide.cli.main", "up"], env=environment, cwd=PROJECT_ROOT)
    child = None
    try:
        child = int(wait_until("Ivy runs", lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
        yield up, cache, child
    finally:
        up.kill()
        up.wait()
        if child is not None:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def test_a_fetch_that_is_told_to_end_leaves_nothing_behind(
    fetching: tuple[subprocess.Popen[bytes], Path, int],
) -> None:
    up, cache, child = fetching
    up.send_signal(signal.SIGTERM)
    assert up.wait(20) == 130
    assert not list((cache / "jars").glob(".arriving-*"))
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_fetch_that_was_killed_is_waited_for_and_cleared_away(
    fetching: tuple[subprocess.Popen[bytes], Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    up, cache, child = fetching
    up.kill()
    up.wait()
    [abandoned] = (cache / "jars").glob(".arriving-*")
    # Two of them in one Ivy cache made each other fail.
    with pytest.raises(EnvironmentProblem, match="has held"), exclusive(cache / "fetch.lock", timeout=0, holder="x"):
        pass
    os.kill(child, signal.SIGKILL)
    monkeypatch.setenv("WORDTIDE_CACHE", str(cache))
    monkeypatch.setenv("WORDTIDE_IVY_SETTINGS", str(cache / "nothing.xml"))
    with exclusive(cache / "fetch.lock", timeout=20, holder="x"):
        pass
    with pytest.raises(ConfigError):
        jars.server_jars(find_java())
    assert not abandoned.exists()


def test_an_ivy_settings_file_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORDTIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WORDTIDE_IVY_SETTINGS", str(tmp_path / "nothing.xml"))
    with pytest.raises(ConfigError, match=r"nothing\.xml"):
        jars.server_jars(find_java())


def test_progress_counts_what_ivy_reports() -> None:
    seen: list[tuple[str, int]] = []
    progress = FetchProgress(lambda what, done: seen.append((what, done)))
    for line in (
        "\tfound org.apache.kafka#kafka-clients;4.2.0 in public\n",
        "downloading ... \n",
        "\t[SUCCESSFUL ] org.apache.kafka#kafka-clients;4.2.0!kafka-clients.jar (352ms)\n",
        "\t[SUCCESSFUL ] org.yaml#snakeyaml;2.4!snakeyaml.jar(bundle) (85ms)\n",
    ):
        progress.line(line)
    assert seen == [("looking up kafka-clients", 0), ("kafka-clients.jar", 1), ("snakeyaml.jar", 2)]
