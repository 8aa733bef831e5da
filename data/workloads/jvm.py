"""A Java service takes sessions of 80 to 100 KB each in four waves of visitors, who leave again.

The usual server process of an office or a shop: G1 lets the heap grow with the load, collects when nothing
has happened for a while, and gives back what lies far above the live objects. Memory comes back long after
the work ended, in regions of a huge page, from a heap that goes on holding what is between them.
"""

import http.client
import subprocess
import threading
import time
from pathlib import Path

DEBIAN = ("openjdk-17-jdk-headless",)

HEAP_MIB = 5000
REGION_MIB = 2
QUIET_MS = 2500  # after so long without a collection the JVM makes one of its own
WAVES = (14_000, 36_000, 8_000, 24_000)  # sessions at each wave's height
FEW = 400  # sessions that stay over the quiet phase
VISITS = 2  # of each session
CLIENTS = 4
STAY_S = 3
PAUSE_S = 12
END_S = 30

FLAGS = (
    "-Xms32m",
    f"-Xmx{HEAP_MIB}m",
    "-XX:+UseG1GC",
    "-XX:+UseTransparentHugePages",
    f"-XX:G1HeapRegionSize={REGION_MIB}m",
    f"-XX:G1PeriodicGCInterval={QUIET_MS}",
    "-XX:-G1PeriodicGCInvokesConcurrent",
    "-XX:MinHeapFreeRatio=10",
    "-XX:MaxHeapFreeRatio=25",
    "-Dsun.net.httpserver.nodelay=true",  # otherwise each answer waits 40 ms for an acknowledgement
)


def prepare(folder: Path) -> None:
    """Compile the service."""
    source = Path(__file__).with_name("Service.java")
    subprocess.run(["javac", "-d", str(folder), str(source)], check=True)


def ask(port: int, what: str, sessions: range) -> None:
    """Send a request for each of the sessions over one connection."""
    server = http.client.HTTPConnection("127.0.0.1", port, timeout=END_S)
    for session in sessions:
        server.request("GET", f"/{what}?{session}")
        server.getresponse().read()
    server.close()


def crowd(port: int, what: str, sessions: range) -> None:
    """The same by several clients at once, each for its share of the sessions."""
    shares = [sessions[client::CLIENTS] for client in range(CLIENTS)]
    clients = [threading.Thread(target=ask, args=(port, what, share)) for share in shares]
    for client in clients:
        client.start()
    for client in clients:
        client.join()


def wave(port: int, sessions: int) -> None:
    """Visitors come, stay a little, and leave but for a few."""
    for _ in range(VISITS):
        crowd(port, "visit", range(sessions))
    print(f"{sessions:,} sessions", flush=True)
    time.sleep(STAY_S)
    crowd(port, "leave", range(FEW, sessions))
    time.sleep(PAUSE_S)


def run(folder: Path) -> None:
    """Start the service, send the waves, and stop it."""
    command = ["java", *FLAGS, "-cp", str(folder), f"-Djava.io.tmpdir={folder}", "Service"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout is not None
            port = int(service.stdout.readline())
            for sessions in WAVES:
                wave(port, sessions)
            ask(port, "stop", range(1))
            service.wait(END_S)
        finally:
            service.kill()
