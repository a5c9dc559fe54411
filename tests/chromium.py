"""Find a Chromium for the browser tests, or fetch one: `make browser`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

INSTALLED = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""The first is the same engine without a window's user interface: a page takes a third of the CPU time."""
INSTALL_TIMEOUT_S = 600
HELP = """No Chromium for the browser tests: none of {names} is installed and Playwright could not fetch its own:
{reason}
Install one (Debian: apt-get install chromium) and run `make test` again."""


def installed() -> Path | None:
    """The first Chromium on PATH, or None."""
    return next((Path(found) for name in INSTALLED if (found := shutil.which(name))), None)


def downloaded() -> Path | None:
    """Playwright's own Chromium, or None where it was never fetched."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = Path(playwright.chromium.executable_path)
    return path if path.exists() else None


def download() -> str:
    """Fetch Playwright's Chromium; what it complained of, or "" when it came."""
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no end after {INSTALL_TIMEOUT_S} s"
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip()[-500:]


def main() -> int:
    """0 when the browser tests can run."""
    if installed() or downloaded():
        return 0
    if reason := download():
        print(HELP.format(names=", ".join(INSTALLED), reason=reason), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
