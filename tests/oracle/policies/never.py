"""``never``."""

from tests.oracle.params import check_params
from tests.oracle.replay import Replay
from tests.oracle.setup import Setup


class NeverReplay(Replay):
    """``never``: nothing is reported and nothing was; the lower bound."""

    def __init__(self, setup: Setup) -> None:
        """Only the parameter ``order`` is known."""
        super().__init__(setup)
        check_params(setup.params, {"order"})
