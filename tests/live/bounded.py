"""Records with bounds shorter than the command line accepts, so that a test need not last minutes.
It says why the recording ended, and how many times the guest was sampled.

Usage: python bounded.py OUT.trace SETTINGS_AS_JSON COMMAND...
"""

import json
import sys
from pathlib import Path

from tracer.recording.command import Command, StopSignals
from tracer.recording.settings import Settings


def main(out: str, settings: str, *argv: str) -> None:
    """One recording."""
    command = Command(list(argv), quiet_stdout=True)
    from tracer.guest.samples import Sampler
    from tracer.recording.recorder import Recorder

    taken, sample = [], Sampler.sample

    def counted(self: Sampler, lost_events: int) -> None:
        taken.append(lost_events)
        sample(self, lost_events)

    Sampler.sample = counted  # type: ignore[method-assign]
    with StopSignals() as signals:
        recorder = Recorder(Path(out), Settings(**json.loads(settings)), ["bounded"])
        manifest = recorder.run(command, signals, lambda _progress: None)
    command.close()
    print(json.dumps({"ended_by": manifest.ended_by, "samples": len(taken)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
