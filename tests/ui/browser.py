"""What a page of ours may say in its console, and ask for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, Route

# A pattern, not a function: Playwright decides by it in its own process, so pages go on while a test waits elsewhere.
ELSEWHERE = re.compile(r"^(https?|wss?)://(?!127\.0\.0\.1[:/])")
NAVIGATED_AWAY = "net::ERR_ABORTED"
"""How Chromium calls a request that was still under way when the page was left."""


@dataclass
class Complaints:
    """What went wrong on the pages of a context: in the console, as an exception, or as a request."""

    said: list[str] = field(default_factory=list)

    def listen(self, context: BrowserContext) -> None:
        """Keep a context from leaving this machine, and hear what its pages complain of."""
        context.route(ELSEWHERE, self._elsewhere)
        context.on("page", self._opened)
        context.on("console", self._console)
        context.on("weberror", lambda error: self.said.append(f"exception: {error.error}"))
        context.on("requestfailed", self._failed)
        context.on("response", lambda answer: answer.status < 400 or self.said.append(f"{answer.status}: {answer.url}"))

    def _opened(self, page: Page) -> None:
        page.on("websocket", lambda socket: ELSEWHERE.match(socket.url) and self.said.append(f"asked {socket.url}"))

    def _elsewhere(self, route: Route) -> None:
        self.said.append(f"asked {route.request.url}")
        route.abort()

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.said.append(f"console: {message.text}")

    def _failed(self, request: Request) -> None:
        if request.failure != NAVIGATED_AWAY:
            self.said.append(f"{request.failure}: {request.url}")
