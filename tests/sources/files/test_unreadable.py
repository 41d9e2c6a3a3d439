"""What cannot be looked at: named only where the glob can mean it, and not where it was counted or decided about."""

import pytest

from wordtide.sources.files.names import names_of
from wordtide.sources.files.unreadable import closed_entries
from wordtide.storage import Closed, Unreadable
from wordtide.table.ledger import Ledger


@pytest.mark.parametrize(
    ("path", "folder", "named"),
    [
        ("/l/in/a.txt", False, True),
        ("/l/in/a.log", False, False),
        ("/l/in/a.tmp", False, False),
        ("/l/.in/a.txt", False, False),
        ("/l/in", True, True),
        ("/l/out", True, False),
        ("/l/in/counted.txt", False, False),
    ],
)
def test_an_entry_that_gives_an_error_is_held_only_where_the_glob_can_mean_it(path, folder, named):
    ledger = Ledger("t", files={"/l/in/counted.txt": (1, 2)})
    closed = [Closed(path, folder, Unreadable(path, "cannot be read"))]
    held = closed_entries(closed, names_of("in/*.t*"), len("/l/"), ledger)
    assert [one.parked.what for one in held] == ([path] if named else [])
