"""One replay in virtual time: whose turn it is."""

import contextlib
from collections.abc import Callable

from tests.oracle.events import Events
from tests.oracle.outcome import Outcome
from tests.oracle.setup import Setup


class ReplayOver(Exception):
    """A report would complete after the end of the replay: the policy acts no more."""


class Replay(Events):
    """One replay in virtual time; its subclasses are the policies.  As it stands it is ``never``."""

    def __init__(self, setup: Setup) -> None:
        """Build the state at t0; ``run`` replays."""
        super().__init__(setup)
        self.next_event = 0
        self.next_correction = 0
        self.next_switch = 0
        self.pass_under_way = False
        self.registration_waits = False

    def run(self) -> Outcome:
        """Replay [t0, end]: an event goes before an action of the same time."""
        self._start()
        with contextlib.suppress(ReplayOver):
            self._run_loop()
        self.apply_events(self.setup.end_ns)
        self.advance(self.setup.end_ns)
        self._note_peak()
        self.compositions += [self.composition() for at in self.setup.bins_ns if at == self.now]
        return self._outcome()

    def _run_loop(self) -> None:
        while True:
            event_ts, action_ts = self.next_event_ts(), self.next_action_ts()
            if event_ts is not None and (action_ts is None or event_ts <= action_ts):
                self.apply_next()
            elif action_ts is not None and action_ts <= self.setup.end_ns:
                self.advance(action_ts)
                self._make_a_pass()
            else:
                return

    def _make_a_pass(self) -> None:
        """The policy acts; a registration that came meanwhile was held up until now."""
        self.pass_under_way = True
        self.act()
        self.pass_under_way = False
        if self.registration_waits:
            self.registration_waits = False
            self._register()

    # -- what comes to pass -------------------------------------------------------------------

    def apply_events(self, t: int) -> None:
        """Apply what has ts <= t and is still to come."""
        while (ts := self.next_event_ts()) is not None and ts <= t:
            self.apply_next()

    def next_event_ts(self) -> int | None:
        """Time of the next event, correction or switch inside the replay, if there is one."""
        ts = min((ts for ts, _ in self._coming()), default=self.setup.end_ns + 1)
        return ts if ts <= self.setup.end_ns else None

    def apply_next(self) -> None:
        """What comes next; of one time first the events, then corrections, then switches."""
        _, apply = min(self._coming(), key=lambda coming: coming[0])
        apply()

    def _coming(self) -> list[tuple[int, Callable[[], None]]]:
        """The next of each kind: when, and what it does."""
        coming: list[tuple[int, Callable[[], None]]] = []
        if self.next_event < len(self.setup.events):
            coming.append((self.setup.events[self.next_event][0], self._event))
        if self.next_correction < len(self.setup.corrections):
            coming.append((self.setup.corrections[self.next_correction][0], self._correction))
        if self.next_switch < len(self.setup.switches):
            coming.append((self.setup.switches[self.next_switch], self._switch))
        return coming

    def _event(self) -> None:
        index = self.next_event
        self.next_event += 1
        self.apply_event(self.setup.events[index], (self.setup.cpus or [0] * (index + 1))[index])

    def _correction(self) -> None:
        self.next_correction += 1
        self.apply_correction(*self.setup.corrections[self.next_correction - 1])

    def observe(self) -> None:
        """Whoever asked to sees the state."""
        if self.setup.observer is not None:
            self.setup.observer(self)

    # -- the device comes and goes ------------------------------------------------------------

    def _switch(self) -> None:
        """The device unregisters or registers, in turns.

        page_reporting_unregister() waits for a pass under way (cancel_delayed_work_sync()) and holds
        the mutex that page_reporting_register() wants: a registration takes effect after that pass.
        """
        self.advance(self.setup.switches[self.next_switch])
        self.next_switch += 1
        if self.next_switch % 2 == 0 and self.pass_under_way:
            self.registration_waits = True
        elif self.next_switch % 2 == 0:
            self._register()
        elif self.registration_waits:
            self.registration_waits = False
        else:
            self.registered = False
            self.on_unregistered()
        self.observe()

    def _register(self) -> None:
        self.registered = True
        self.on_registered()
