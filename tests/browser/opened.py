"""A page opened in the distribution's own Chromium, and all that it says and asks for."""

import json
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from typing import Any

from playwright.sync_api import Page, sync_playwright

# Colours of a chart's element: with axes, legend and controls, but no rows, it has some hundreds, since its
# letters are smoothed; with rows a thousand and more. `emptied` holds this number to be one in between.
PLAIN = 800
_DATA = re.compile(r'(?<=<script type="application/json" id="data">).*?(?=</script>)', re.DOTALL)


def missing() -> str | None:
    """Why no page can be opened here, or None."""
    return None if which("chromium") else "there is no chromium (apt-get install chromium)"


@dataclass
class Opened:
    """A page, and what it did: `said` on its console, errors included; `asked` for beside itself."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@contextmanager
def opened(path: Path, width: int = 1280, scheme: Any = "light") -> Iterator[Opened]:
    """The page with its charts drawn. A request that would leave it is noted, and answered by nobody."""
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=which("chromium"), args=["--no-sandbox"])
        context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        found, address = Opened(context.new_page()), path.resolve().as_uri()

        def answer(route: Any) -> None:
            if route.request.url == address:
                route.continue_()
            else:
                found.asked.append(route.request.url)
                route.abort()

        context.route("**/*", answer)
        found.page.on("console", lambda message: found.said.append(message.text))
        found.page.on("pageerror", lambda error: found.said.append(str(error)))
        found.page.goto(address)
        wait_until_drawn(found.page, scheme)
        yield found
        context.close()
        chromium.close()


def wait_until_drawn(page: Page, scheme: str) -> None:
    """Until all charts are drawn in these colours."""
    page.wait_for_selector(f"html[data-drawn={scheme}]", state="attached", timeout=60_000)


def emptied(page: Path, out: Path) -> Path:
    """The same page with charts that have no rows."""
    text = page.read_text()
    told = json.loads(_DATA.search(text)[0])  # type: ignore[index] # every page has it
    _empty(told["charts"])
    out.write_text(_DATA.sub(lambda _: json.dumps(told).replace("<", "\\u003c"), text))
    return out


def _empty(told: Any) -> None:
    """Cut each table of CSV below its heading, and take the rows of each list."""
    for key, value in told.items() if isinstance(told, dict) else enumerate(told):
        if key == "datasets":
            told[key] = {
                name: rows.partition("\n")[0] if isinstance(rows, str) else [] for name, rows in value.items()
            }
        elif isinstance(value, str) and "\n" in value:
            told[key] = value.partition("\n")[0] + "\n"
        elif isinstance(value, dict | list):
            _empty(value)


def colours(png: bytes) -> int:
    """How many colours an 8-bit PNG has, as the browser writes them."""
    return len(set(pixels(png)))


def pixels(png: bytes) -> list[bytes]:
    """Each pixel's bytes."""
    width, height, channels, packed, at = 0, 0, 0, b"", 8
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at : at + 8])
        body = png[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, height, _, colour = struct.unpack(">IIBB", body[:10])
            channels = {2: 3, 6: 4}[colour]
        packed += body if kind == b"IDAT" else b""
        at += size + 12
    return _unfiltered(zlib.decompress(packed), width * channels, height, channels)


def _unfiltered(raw: bytes, row_bytes: int, height: int, step: int) -> list[bytes]:
    before, found = bytearray(row_bytes), []
    for y in range(height):
        start = y * (row_bytes + 1)
        kind, row = raw[start], bytearray(raw[start + 1 : start + 1 + row_bytes])
        for k in range(row_bytes):
            left = row[k - step] if k >= step else 0
            corner = before[k - step] if k >= step else 0
            row[k] = (row[k] + _guess(kind, left, before[k], corner)) & 255
        found += [bytes(row[k : k + step]) for k in range(0, row_bytes, step)]
        before = row
    return found


def _guess(kind: int, left: int, up: int, corner: int) -> int:
    if kind < 4:
        return (0, left, up, (left + up) // 2)[kind]
    guess = left + up - corner
    return min((left, up, corner), key=lambda each: abs(guess - each))
