"""Records with bounds shorter than the command line accepts, so that a test need not last minutes.

Usage: python bounded.py OUT.trace SETTINGS_AS_JSON COMMAND...
"""

import json
import sys
from pathlib import Path

from tracer.recording.command import Command, StopSignals
from tracer.recording.settings import Settings


def main(out: str, settings: str, *argv: str) -> None:
    """One recording."""
    command = Command(list(argv), quiet_stdout=False)
    from tracer.recording.recorder import Recorder

    with StopSignals() as signals:
        recorder = Recorder(Path(out), Settings(**json.loads(settings)), ["bounded"])
        manifest = recorder.run(command, signals, lambda _progress: None)
    command.close()
    print(manifest.ended_by)


if __name__ == "__main__":
    main(*sys.argv[1:])
