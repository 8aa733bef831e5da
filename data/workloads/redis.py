"""Redis is filled with 0.9 GiB that expires, saved to disk while it is written to, filled again, and flushed.

A cache: values of 100 bytes to 32 KiB with times to live, so that what is freed lies scattered between what
is not, and the allocator gives pages back some seconds later. Saving forks: each page written meanwhile is
copied. Both layers, so that it can be told which pages the server got.
"""

import random
import socket
import subprocess
import time
from pathlib import Path

DEBIAN = ("redis-server",)
LAYER = "both"
FILLS_MIB = (600, 300)
LEAST_BYTES, MOST_BYTES = 100, 32 << 10
LIVES_S = (8, 25)
REST_S = 12
BATCH = 200


def command(*words: bytes) -> bytes:
    """A request as the server reads it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


class Client:
    """One connection; requests go out in batches."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._replies = self._socket.makefile("rb")

    def ask(self, *requests: bytes) -> list[bytes]:
        """Send them all; the first line of each answer.

        Raises:
            RuntimeError: when the server refuses one.
        """
        self._socket.sendall(b"".join(requests))
        lines = [self._replies.readline() for _ in requests]
        if refused := [line for line in lines if line.startswith(b"-")]:
            raise RuntimeError(refused[0].decode())
        return lines


def fill(client: Client, mib: int, dice: random.Random) -> None:
    """So many MiB of values, most of them small; a third never expires."""
    noise, sent = dice.randbytes(MOST_BYTES), 0
    while sent < mib << 20:
        requests = []
        for _ in range(BATCH):
            size = int(LEAST_BYTES * (MOST_BYTES / LEAST_BYTES) ** dice.random())
            lives = [b"EX", b"%d" % dice.randint(*LIVES_S)] if dice.random() < 2 / 3 else []
            requests.append(command(b"SET", b"key:%d" % dice.getrandbits(40), noise[:size], *lives))
            sent += size
        client.ask(*requests)


def start(folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """The server, with a socket in the folder and no port."""
    path = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    while not path.exists() and server.poll() is None:
        time.sleep(0.05)
    return server, path


def run(folder: Path) -> None:
    """Fill, save, let expire; fill, flush; end."""
    server, path = start(folder)
    client, dice = Client(path), random.Random(1)
    try:
        fill(client, FILLS_MIB[0], dice)
        client.ask(command(b"BGSAVE"))
        fill(client, FILLS_MIB[1], dice)
        time.sleep(LIVES_S[1] + REST_S)
        fill(client, FILLS_MIB[0], dice)
        client.ask(command(b"FLUSHALL"))
        time.sleep(REST_S)
        fill(client, FILLS_MIB[1], dice)
    finally:
        server.terminate()
        server.wait()
    (folder / "dump.rdb").unlink(missing_ok=True)
