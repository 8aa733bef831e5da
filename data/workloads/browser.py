"""Chromium opens heavy pages in tabs, moves on to others, and closes them, in three sittings.

A desktop or a crawler: big documents, canvases, pictures that are decoded to tens of MB, heaps of JavaScript
objects. Each tab is a process that takes hundreds of MB within seconds; moving on to another page drops most
of it and closing a tab all of it. Pages come from files, so nothing leaves the machine.
"""

import contextlib
import fcntl
import json
import os
import random
import select
import shutil
import signal
import struct
import time
import zlib
from pathlib import Path
from typing import Any

DEBIAN = ("chromium",)

SEED = 7
PICTURES = 6
WIDTH, HEIGHT = 3600, 2400  # of a picture, in pixels of 4 bytes when decoded
ROWS = 9_000  # of the table in the big document, of 6 cells each
CANVASES, SIDE = 8, 2400  # pixels
OBJECTS = 1_500_000  # of the JavaScript heap
SITTINGS = (
    ("table", "canvas", "heap", "gallery"),
    ("heap", "gallery"),
    ("gallery", "table", "canvas", "heap"),
)
PARTS = 6  # how often a page is scrolled on and painted
SCROLL = f"scrollTo(0, document.documentElement.scrollHeight * %d / {PARTS})"
ANSWER_S = 60.0
LOOK_S = 3
PAUSE_S = 8
END_S = 20.0

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--window-size=1600,1200",
    "--remote-debugging-pipe",
)
TABS_EACH = 2  # of every page of a sitting
LOADED = (
    """new Promise(done => document.readyState == "complete" ? done() : addEventListener("load", done))"""
)

TABLE = f"""<table></table><script>
for (let row = 0; row < {ROWS}; row++) {{
  const line = document.querySelector("table").insertRow();
  for (let cell = 0; cell < 6; cell++) {{
    const colour = "hsl(" + row % 360 + ",50%,50%)";
    line.insertCell().innerHTML = `<b>${{row}}</b> <i style="color:${{colour}}">${{cell}}</i>`;
  }}
}}</script>"""
CANVAS = f"""<script>
for (let number = 0; number < {CANVASES}; number++) {{
  const canvas = document.body.appendChild(document.createElement("canvas"));
  canvas.width = canvas.height = {SIDE};
  const pen = canvas.getContext("2d");
  for (let step = 0; step < 2000; step++) {{
    pen.fillStyle = "hsl(" + (step + number * 40) % 360 + ",70%,50%)";
    pen.fillRect((step * 37) % {SIDE}, (step * 91) % {SIDE}, 200, 150);
  }}
}}</script>"""
HEAP = f"""<p></p><script>
const kept = new Map();
for (let key = 0; key < {OBJECTS}; key++) {{
  kept.set(key, {{key, name: "object " + key, links: [key % 7, key % 11, key % 13]}});
}}
document.querySelector("p").textContent = kept.size;
</script>"""
GALLERY = "".join(f"<img src='picture-{number}.png' width=1500>" for number in range(PICTURES))
PAGES = {"table": TABLE, "canvas": CANVAS, "heap": HEAP, "gallery": GALLERY}


def picture(choose: random.Random) -> bytes:
    """A PNG of HEIGHT lines of WIDTH RGB pixels: each line shows the same stripes, shifted."""
    stripes = choose.randbytes(3 * 64) * (WIDTH // 64 + 2)
    lines = (b"\0" + stripes[3 * (line % 64) :][: 3 * WIDTH] for line in range(HEIGHT))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(lines), 1)), (b"IEND", b""))
    framed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def prepare(folder: Path) -> None:
    """Write the pages and their pictures."""
    choose = random.Random(SEED)
    for name, body in PAGES.items():
        (folder / f"{name}.html").write_text(f"<!doctype html><title>{name}</title><body>{body}")
    for number in range(PICTURES):
        (folder / f"picture-{number}.png").write_bytes(picture(choose))


def start(profile: Path, reading: int, writing: int) -> int:
    """Start Chromium, which reads commands from one pipe and answers on another; its process id.

    It expects them as descriptors 3 and 4, so both are first moved out of that range.
    """
    ends = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 10) for each in (reading, writing)]
    command = ["chromium", *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    quiet = [(os.POSIX_SPAWN_OPEN, each, "/dev/null", os.O_RDWR, 0) for each in range(3)]
    pipes = [(os.POSIX_SPAWN_DUP2, mine, theirs) for mine, theirs in zip(ends, (3, 4), strict=True)]
    environment = {**os.environ, "HOME": str(profile), "TMPDIR": str(profile)}
    pid = os.posix_spawnp("chromium", command, environment, file_actions=quiet + pipes, setpgroup=0)
    for each in (reading, writing, *ends):
        os.close(each)
    return pid


class Browser:
    """A Chromium with a profile of its own, spoken to over the two pipes of its DevTools protocol."""

    def __init__(self, folder: Path) -> None:
        self.profile = folder.resolve() / "profile"
        self.profile.mkdir(exist_ok=True)
        reading, self.commands = os.pipe()
        self.answers, writing = os.pipe()
        self.pid = start(self.profile, reading, writing)
        self.received = b""
        self.number = 0

    def message(self) -> dict[str, Any]:
        """The next message: JSON, ended by a zero byte."""
        while b"\0" not in self.received:
            ready, _, _ = select.select([self.answers], [], [], ANSWER_S)
            more = os.read(self.answers, 1 << 20) if ready else b""
            if not more:
                raise TimeoutError("Chromium does not answer")
            self.received += more
        message, _, self.received = self.received.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded

    def ask(self, method: str, tab: str = "", **parameters: object) -> dict[str, Any]:
        """Send a command, to a tab or to the browser, and wait for its result; events are passed over."""
        self.number += 1
        command = {"id": self.number, "method": method, "params": parameters}
        sent = json.dumps(command | ({"sessionId": tab} if tab else {})).encode() + b"\0"
        while sent:
            sent = sent[os.write(self.commands, sent) :]
        while (answer := self.message()).get("id") != self.number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def tab(self) -> tuple[str, str]:
        """Open an empty tab: its target and its session."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        return target, self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def show(self, tab: str, page: Path) -> None:
        """Load a page in a tab and have it painted to its end."""
        self.ask("Page.bringToFront", tab)
        self.ask("Page.navigate", tab, url=page.as_uri())
        self.ask("Runtime.evaluate", tab, expression=LOADED, awaitPromise=True)
        for part in range(PARTS):
            self.ask("Runtime.evaluate", tab, expression=SCROLL % part)
            self.ask("Page.captureScreenshot", tab, format="jpeg")

    def gone(self) -> bool:
        """Wait for the process to end, END_S at most."""
        until = time.monotonic() + END_S
        while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
        return True

    def close(self) -> None:
        """End it, by force if it does not go, with all its processes, and remove its profile."""
        os.close(self.commands)
        gone = self.gone()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        if not gone:
            os.waitpid(self.pid, 0)
        os.close(self.answers)
        shutil.rmtree(self.profile, ignore_errors=True)


def sitting(browser: Browser, folder: Path, pages: tuple[str, ...]) -> None:
    """Open tabs of each page, move every second one on to the next page, close all."""
    tabs = [(browser.tab(), number) for number in range(TABS_EACH * len(pages))]
    for step in (0, 1):
        for (_, tab), number in tabs[:: 1 + step]:
            browser.show(tab, (folder / f"{pages[(number + step) % len(pages)]}.html").resolve())
        time.sleep(LOOK_S)
    for (target, _), _ in tabs:
        browser.ask("Target.closeTarget", targetId=target)
    time.sleep(PAUSE_S)


def run(folder: Path) -> None:
    """The sittings, in one browser that stays open."""
    browser = Browser(folder)
    try:
        for pages in SITTINGS:
            sitting(browser, folder, pages)
            print(", ".join(pages), flush=True)
        browser.ask("Browser.close")
    finally:
        browser.close()
