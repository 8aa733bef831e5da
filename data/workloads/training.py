"""scikit-learn fits forests, boosted trees, clusters and linear models on up to 1.2 GB of features.

A training job on a small guest: NumPy arrays asked for as huge pages and copied by every step, workers
that map the data from a file that joblib writes, trees in many small objects of threads. Each model is
fitted, used and forgotten; the data set goes and another one of another size comes: memory moves by GiB.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float32]

PYPI = ("scikit-learn==1.9.1", "numpy==2.4.6", "joblib==1.6.0")

SEED = 8
FEATURES = 160  # float32
SETS = (700_000, 1_800_000, 500_000, 1_200_000)  # rows of each data set
FOREST_ROWS = 60_000
PREDICTED_ROWS = 60_000
WORKERS = 2
PAUSE_S = 6


def features(rows: int, seed: int) -> "tuple[Values, NDArray[np.int8]]":
    """Rows of (FEATURES) float32 and their class, 0 or 1."""
    import numpy as np

    choose = np.random.default_rng(seed)
    values = choose.standard_normal((rows, FEATURES), dtype=np.float32)
    noise = choose.standard_normal(rows, dtype=np.float32)
    return values, (values[:, :8].sum(axis=1) + noise > 0).astype(np.int8)


def moments(part: "Values") -> "NDArray[np.float64]":
    """What a worker process finds out of its part of the rows: standardised, their covariance."""
    import numpy as np

    scaled = (part - part.mean(axis=0)) / part.std(axis=0)
    return np.cov(scaled, rowvar=False)


def explore(values: "Values", folder: Path) -> float:
    """Worker processes look at half of the rows each; joblib hands them over in a file."""
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    halves = (values[: len(values) // 2], values[len(values) // 2 :])
    work = Parallel(n_jobs=WORKERS, temp_folder=str(folder), mmap_mode="r")
    found = work(delayed(moments)(half) for half in halves)
    get_reusable_executor().shutdown(wait=True)
    return float(sum(each.trace() for each in found))


def models() -> list[tuple[Any, int]]:
    """Models, and each how many rows it is fitted on, at most."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import SGDClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    everything = max(SETS)
    forest = RandomForestClassifier(40, max_features=8, n_jobs=WORKERS, random_state=SEED)
    boosted = HistGradientBoostingClassifier(max_iter=5, random_state=SEED)
    return [
        (forest, FOREST_ROWS),
        (boosted, everything),
        (make_pipeline(StandardScaler(), SGDClassifier(max_iter=2, tol=None, random_state=SEED)), everything),
        (MiniBatchKMeans(20, max_iter=2, n_init=1, random_state=SEED), everything),
    ]


def study(rows: int, folder: Path) -> None:
    """Make a data set, look at it, fit and use every model; all is forgotten on return."""
    values, classes = features(rows, SEED + rows)
    print(f"{rows:,} rows, traces {explore(values, folder):.1f}", flush=True)
    for model, most in models():
        model.fit(values[:most], classes[:most])
        answers = model.predict(values[-PREDICTED_ROWS:])
        print(f"  {type(model).__name__}: {answers.mean():.3f} on average", flush=True)


def run(folder: Path) -> None:
    """One data set after another, with a pause between them."""
    for rows in SETS:
        study(rows, folder)
        time.sleep(PAUSE_S)
