"""The tests of pages would notice what they promise to notice."""

from __future__ import annotations

from playwright.sync_api import Browser

from tests.ui.browser import Complaints

PAGE = """data:text/html,<script>
    console.error('an error of ours');
    fetch('http://10.1.2.3/elsewhere').catch(() => 0);
    new WebSocket('ws://elsewhere.example/');
    throw new Error('an exception of ours');
</script>"""
KINDS = ("console: an error of ours", "asked http://10.1.2.3/elsewhere", "asked ws://elsewhere.example/", "exception: ")


def test_errors_exceptions_and_requests_to_other_hosts_are_heard(browser: Browser) -> None:
    context = browser.new_context()
    complaints = Complaints()
    complaints.listen(context)
    page = context.new_page()
    page.goto(PAGE)
    for _ in range(100):
        missing = [kind for kind in KINDS if not any(said.startswith(kind) for said in complaints.said)]
        if not missing:
            break
        page.wait_for_timeout(100)
    context.close()
    assert not missing
