"""Which names a stream's glob takes, which are left out, and which globs are refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordtide.core.left_out import LeftOut
from wordtide.core.problems import ConfigError
from wordtide.sources.files.globs import compiled
from wordtide.sources.files.names import Verdict, is_candidate, left_out, names_of, names_problem


@pytest.mark.parametrize(
    ("path", "glob", "wanted"),
    [
        ("a.txt", "**/*", True),
        ("x/y/a.txt", "**/*", True),
        ("a.txt", "*", True),
        ("x/a.txt", "*", False),
        ("a.txt", "*.txt", True),
        ("x/a.txt", "*.txt", False),
        ("a.txt", "**/*.txt", True),
        ("x/y/a.txt", "**/*.txt", True),
        ("a.csv", "**/*.txt", False),
        ("x/a.txt", "x/**/*.txt", True),
        ("x/y/z/a.txt", "x/**/*.txt", True),
        ("xx/a.txt", "x/**/*.txt", False),
        ("x/a/b", "x/**", True),
        ("y/a", "x/**", False),
        ("a/x/b/y/c", "**/x/**/y/*", True),
        ("axb/y/c", "**/x/**/y/*", False),
        ("ab", "a**b", True),
        ("a/b", "a**b", False),
        ("day=1/a", "day=?/a", True),
        ("day=12/a", "day=?/a", False),
        ("a/b", "a?b", False),
        ("a1", "a[0-9]", True),
        ("ax", "a[0-9]", False),
        ("ax", "a[!0-9]", True),
        ("a/b", "a[!0-9]b", False),
        ("a/b", "a[/]b", False),
        ("a]", "a[]]", True),
        ("a^", "a[a^]", True),
        ("a\\", "a[\\]", True),
        ("a[", "a[", True),
        ("a.txt", "a.t+xt", False),
        ("aXtxt", "a.txt", False),
        ("two words 100%.txt", "**/*.txt", True),
        ("line\nend.txt", "*.txt", True),
        ("x\ny/a.txt", "**/*.txt", True),
        ("Größe/日本語.txt", "**/日*.txt", True),
        ("a{b}", "a{b}", True),
        ("a.txt", "*.{txt,log}", True),
        ("a.csv", "*.{txt,log}", False),
        ("in/x/a.log", "{in,out/**}/*.{txt,log}", False),
        ("out/x/a.log", "{in,out/**}/*.{txt,log}", True),
        ("ac", "{a{b,c},d}", True),
        ("d", "{a{b,c},d}", True),
        ("a", "a{,.txt}", True),
        ("a,b", "[{]a,b}", False),
        ("{a,b}", "[{]a,b}", True),
        ("{a,b", "{a,b", True),
    ],
)
def test_the_glob_is_relative_and_only_two_stars_cross_folders(path, glob, wanted):
    assert is_candidate(path, glob) is wanted


@pytest.mark.parametrize(
    "path",
    [
        ".a", "_a", "_SUCCESS", "x/.a", "x/_a", ".x/a", "_temporary/0/a", "x/_y/z/a", "a._COPYING_", "x/a._COPYING_",
        "a.tmp", "x/a.tmp", "part-0.inprogress.123", "x/a.inprogress", "up.txt.part", "up.filepart", "up.partial",
        "up.crdownload", ".up.swp", "up.swp", "up.txt~",
    ],
)  # fmt: skip
def test_hidden_and_half_written_names_are_never_candidates(path):
    assert not is_candidate(path, "**/*")


@pytest.mark.parametrize(
    "path",
    [
        "a_b",
        "x_/a",
        "a.b/c",
        "tmp",
        "a.tmp.txt",
        "a.tmp/b",
        "x._COPYING_/a",
        "part-00000",
        "part-00000.gz",
        "a.part1",
        "a.part/b",
        "~a",
        "data.parts",
    ],
)
def test_names_that_only_look_like_it_are_candidates(path):
    assert is_candidate(path, "**/*")


def test_a_glob_that_means_nothing_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"^glob 'a\[z-a\]' is invalid"):
        is_candidate("a", "a[z-a]")


@given(st.lists(st.text(st.characters(blacklist_characters="/", blacklist_categories=("Cs",)), min_size=1), min_size=1))
def test_everything_not_hidden_matches_the_default_glob(parts):
    path = "/".join(parts)
    hidden = any(part[0] in "._" for part in parts)
    verdict = names_of("**/*").verdict(path)
    assert (verdict is Verdict.UNWANTED) is hidden
    assert is_candidate(path, "**/*") is (verdict is Verdict.WANTED)


@pytest.mark.parametrize(
    ("glob", "said"),
    [
        ("", "use **/* for every file"),
        ("  ", "use **/* for every file"),
        ("/landing/*.txt", "relative to landing.path"),
        ("~/in/*.txt", "relative to landing.path"),
        ("hdfs:///landing/*.txt", "relative to landing.path"),
        ("./*.txt", "leave ./ out"),
        ("in/./*.txt", "leave ./ out"),
        ("../*.txt", "set landing.path to the parent folder"),
        ("in/", "use in/** for what is in it"),
        ("**/", "use **/** for what is in it"),
        ("in//*.txt", "use a single /"),
        ("in\\*.txt", "there are no backslashes"),
        ("\\*.txt", "there are no backslashes"),
        ("in[/]*.txt", "close the bracket before it"),
        ("a\0b", "NUL"),
        (".in/*", "begin with . or _ are never taken"),
        ("**/_SUCCESS", "begin with . or _ are never taken"),
        ("*.tmp", "still being written"),
        ("*.{txt,log}/", "use *.txt/** for what is in it"),
        ("{in,/abs}/*.txt", "'/abs/*.txt' of '{in,/abs}/*.txt' can match nothing"),
        ("*.upload", "still being written"),
    ],
)
def test_a_glob_that_can_match_nothing_is_refused_with_what_to_write(glob, said):
    problem = names_problem(glob, (".upload",))
    assert problem is not None
    assert said in problem
    assert "can match nothing" in problem


@pytest.mark.parametrize(
    ("glob", "in_progress"),
    [
        ("*.{tmp,part}", ()), ("*.{txt,tmp}", ()), ("*.tm[p]", ()), ("in/**/*.{txt,csv}.tmp", ()), ("x[~]", ()),
        ("*.inprogress.log", ()), ("*.inprogress.{a,b}", ()), ("*.inprogress*", ()), ("a.inprogress", ()),
        ("[._]*", ()), ("a/[.]x", ()), ("[_]*/x", ()), ("*.log", ("*.log",)), ("app-*.log", ("*.log",)),
        ("*.log", ("*",)), ("**/*.log", ("*.{log,out}",)), ("a?.log", ("a*.log",)), ("*.log", (".log",)),
    ],
)  # fmt: skip
def test_a_glob_whose_every_name_is_hidden_or_in_progress_is_refused(glob, in_progress):
    problem = names_problem(glob, in_progress)
    assert problem is not None
    assert "can match nothing" in problem


@pytest.mark.parametrize(
    ("glob", "in_progress"),
    [
        ("*", ()), ("**/*", ("*.log",)), ("**", ()), ("*.tm[pq]", ()), ("*.tm?", ()), ("*tmp", ()), ("*.tm[!p]", ()),
        ("[.a]*", ()), ("[!.]*", ()), ("[a-z]*", ()), ("*.tmp/*", ()), ("[.", ("x",)), ("*.log", ("a*.log",)),
        ("*.log", ("?*.log.*",)), ("*.log*", ("*.log",)), ("*.[a-z]", ("*.a",)), ("*.lo[gh]", ("*.log",)),
        ("?.log", ("??*.log",)),
    ],
)  # fmt: skip
def test_a_glob_with_names_that_are_taken_is_none_of_those(glob, in_progress):
    assert names_problem(glob, in_progress) is None


@pytest.mark.parametrize(
    "glob", ["**/*", "*", "x", "*.{txt,log}", "day=*/part-*", "[.a]*", "a[\\]b", "?", "**", "x/**"]
)
def test_a_glob_that_can_match_something_is_not_refused(glob):
    assert names_problem(glob, ()) is None


@pytest.mark.parametrize("glob", ["[z-a]", "{a,b}" * 7])
def test_a_glob_that_cannot_be_understood_is_refused(glob):
    with pytest.raises(ConfigError, match=re.escape(repr(glob))):
        names_problem(glob, ())


@pytest.mark.parametrize(
    ("glob", "folder", "may"),
    [
        ("**/*", "a/b", True),
        ("*.txt", "a", False),
        ("in/*.txt", "in", True),
        ("in/*.txt", "in/x", False),
        ("in/*.txt", "private", False),
        ("in/*/a", "in/x", True),
        ("in/*/a", "in/x/y", False),
        ("a/**/b", "a", True),
        ("a/**/b", "a/x/y/z", True),
        ("a/**/b", "b", False),
        ("day=?/**", "day=1/x", True),
        ("day=?/**", "day=12", False),
        ("{in,out}/*", "out", True),
        ("{in,out}/*", "off", False),
        ("**/*", ".Trash", False),
        ("**/*", "a/_temporary", False),
    ],
)
def test_the_glob_says_below_which_folders_anything_can_be_meant(glob, folder, may):
    assert names_of(glob).may_hold(folder) is may


@given(
    st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "*", "**", "?", "a*", "{a,b}", "[ab]"]), min_size=1, max_size=4),
)
def test_every_folder_of_a_match_is_one_that_may_hold_it(path, glob):
    found = compiled("/".join(glob))
    if found.matches("/".join(path)):
        assert all(found.may_hold("/".join(path[:depth])) for depth in range(1, len(path)))


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("a.upload", Verdict.IN_PROGRESS),
        ("a.upload.txt", Verdict.WANTED),
        ("a.lock.1", Verdict.IN_PROGRESS),
        ("a.tmp", Verdict.IN_PROGRESS),
        ("a.csv.upload", Verdict.IN_PROGRESS),
        (".a.upload", Verdict.UNWANTED),
        ("x/a.lock.2", Verdict.IN_PROGRESS),
        ("lock.2/a", Verdict.WANTED),
    ],
)
def test_names_in_progress_can_be_added_as_endings_or_globs(name, verdict):
    assert names_of("**/*", (".upload", "*.lock.*")).verdict(name) is verdict


def test_what_is_left_out_is_one_line_with_the_oldest_first():
    hour = 3_600_000
    found = left_out([(3 * hour, "/l/c.tmp"), (hour, "/l/x/a.tmp"), (2 * hour, "/l/b.part"), (4 * hour, "/l/d~")], [])
    assert found.line == (
        "4 files left out by name, oldest modified 1970-01-01 01:00:00 UTC: a.tmp, b.part, c.tmp and 1 more"
    )
    assert left_out([(-(10**17), "/l/a.tmp")], ["/l/p (a named pipe)"]).line == (
        "1 file left out by name: a.tmp; not taken: /l/p (a named pipe)"
    )
    assert not LeftOut()
    assert LeftOut().line == ""
