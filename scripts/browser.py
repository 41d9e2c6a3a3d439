"""The system's Chromium, which never leaves this machine."""

from __future__ import annotations

import shutil

from playwright.sync_api import Browser, Playwright

INSTALL = "no Chromium is installed: apt-get install chromium"


def chromium() -> str | None:
    """Return where the system's Chromium is, if it has one."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def launch(playwright: Playwright) -> Browser:
    """Start it without a window."""
    return playwright.chromium.launch(
        executable_path=chromium(),
        # Its sandbox does not run as root, as in containers. No name leads anywhere: it is shown local pages only.
        args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
    )
