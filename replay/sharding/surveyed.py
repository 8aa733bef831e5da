"""What the survey found, handed to the workers: read once, not once by each."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from replay.buddy.hindsight import DirectFrees
from replay.buddy.searches import Taken
from replay.sharding.files import damaged
from replay.survey import Survey
from tracer import Trace, output_fault

SURVEY = "survey.npz"


def keep_survey(folder: Path, survey: Survey) -> None:
    """Write it down for the workers.

    Raises:
        Fault: when it cannot be written.
    """
    try:
        with (folder / SURVEY).open("wb") as file:
            np.savez(file, **survey.arrays)  # type: ignore[arg-type] # no array is named allow_pickle
    except OSError as error:
        raise output_fault(folder / SURVEY, error) from error


def load_survey(folder: Path, trace: Trace) -> Survey:
    """What was written.

    Raises:
        Fault: when it cannot be read.
    """
    names = ("types", "rows", "at_end", "taken_rows", "taken", "unclear")
    try:
        with np.load(folder / SURVEY) as stored:
            types, rows, at_end, told_by, blocks, unclear = (stored[name] for name in names)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise damaged(folder / SURVEY, f"{type(error).__name__}: {error}") from error
    return Survey(trace, types, DirectFrees(rows, at_end), Taken(told_by, blocks, int(unclear)))
