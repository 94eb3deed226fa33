"""Pages in headless Chromium, which must ask for nothing and complain of nothing."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: Debian's package has it")


@contextmanager
def browser() -> Iterator:
    """Headless Chromium, as root too."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@contextmanager
def opened(launched, path: Path, fragment: str = "", width: int = 1400, scheme: str = "light") -> Iterator:
    """A page from disk, when it has drawn itself. Complaints, dialogs and requests of any other file fail the test."""
    context = launched.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page, faults = context.new_page(), []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: faults.append(f"dialog {dialog.message}"))
    page.on("request", lambda request: faults.append(request.url) if _foreign(request.url, path) else None)
    page.goto(path.as_uri() + fragment)
    settled(page)
    yield page
    assert faults == []
    context.close()


def _foreign(url: str, path: Path) -> bool:
    return not url.startswith("data:") and url.partition("#")[0] != path.as_uri()


def settled(page, after: str | None = None) -> str:
    """Wait until the page has drawn everything; after: the count of drawings before. Returns the count."""
    page.wait_for_selector("body[data-settled]" if after is None else f"body:not([data-settled='{after}'])")
    return page.locator("body").get_attribute("data-settled")


@contextmanager
def redrawn(page) -> Iterator[None]:
    """What is done inside makes the page draw itself anew; wait for that."""
    before = page.locator("body").get_attribute("data-settled")
    yield
    settled(page, before)
