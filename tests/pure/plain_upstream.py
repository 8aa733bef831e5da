"""`upstream` once more, as anybody would write it in plain Python: a second opinion on the compiled one."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from replay.geometry import MOVABLE
from replay.isolation import drain, free_known, isolate, read_counts, rotate
from replay.parts import visit
from replay.policies import policy_named
from replay.policies.kit.timer import OWN, fires_ns, with_clock
from replay.policies.plain import Verbs, blocks, free_lists, is_reported, plain_program, room
from replay.policies.protocol import INSTANT, REGISTERED, REPORT, SLEEP, UNREGISTERED
from replay.state import NEVER, ORDER

IDLE, REQUESTED, ACTIVE = range(3)


class Upstream(Verbs):
    def __init__(self, guest: Any, params: Any) -> None:
        self.clock, self.params = with_clock(OWN, guest, params), params
        self.status, self.gone = IDLE, False
        self.under_way: Iterator[None] | None = None

    def request(self, now_ns: int) -> None:
        if self.status == IDLE:
            self.deadline_ns = fires_ns(self.clock, now_ns, self.params["delay"])
        self.status = REQUESTED

    def arrive(self, s, now_ns, unit, order, merged, quiet, cpu):
        if not quiet:
            self.request(now_ns)

    def tell(self, s, now_ns, what, where):
        if what == REGISTERED:
            self.gone = False
            self.request(now_ns)
        elif what == UNREGISTERED:
            self.gone = True
            if self.under_way is None:
                self.status, self.deadline_ns = IDLE, NEVER

    def wake(self, s, now_ns):
        read_counts(s, now_ns)
        self.now_ns = now_ns
        if self.under_way is None:
            self.status = ACTIVE
            s.meters["passes"] += 1
            self.under_way = self.one_pass(s)
        for _ in self.under_way:
            return REPORT
        again = self.status == REQUESTED and not self.gone
        self.under_way, self.status = None, IDLE
        if again:
            self.request(now_ns)
        return SLEEP

    def one_pass(self, s) -> Iterator[None]:
        """Yields whenever the batch is to be reported, and goes on when it is."""
        batch = self.params["capacity"]
        for zone in range(len(s.zones)):
            low = s.zones["low"][zone] + s.zones["boost"][zone] + (batch << int(s.shape[ORDER]))
            refused = self.params["gate"] and free_known(s, zone) <= low
            visit(s, zone, refused, self.now_ns)
            if refused:
                continue
            for zone_, order, migratetype in free_lists(s, zone):
                if any(True for _ in blocks(s, zone_, order, migratetype)):
                    budget = -(-s.area.nr_free[zone, order] // (batch * self.params["budget"]))
                    while self.fill(s, (zone, order, migratetype), budget):
                        yield
                        if not self.drained(s):
                            return
                        budget -= 1
            if room(s) < batch:
                yield
                if not self.drained(s, last=True):
                    return

    def drained(self, s, *, last=False) -> bool:
        """After a report; False when it failed, which ends the pass. The next walk is in the same hold."""
        drain(s, self.now_ns, True)
        s.meters["lock_takes"] += last or s.device["failed"][0]
        return not s.device["failed"][0]

    def fill(self, s, free_list, budget) -> bool:
        """One hold of the lock: is the batch full?"""
        walked, first, full = 0, None, False
        for unit in blocks(s, *free_list):
            walked += 1
            if is_reported(s, unit):
                continue
            if budget < 0:
                self.status = REQUESTED
            if budget < 0 or (full := room(s) == 0) or not isolate(s, unit, MOVABLE, self.now_ns):
                first = unit
                break
        s.meters["lock_takes"] += 1
        s.meters["entries_walked"] += walked
        s.meters["max_entries_per_lock"] = max(s.meters["max_entries_per_lock"][0], walked)
        if first is not None:
            rotate(s, first)
        return full


def _build(guest, geometry, params):
    kept = {"capacity": params["capacity"], "to_tail": params["putback"] == "tail"}
    return plain_program(Upstream(guest, params), **kept)


PLAIN_UPSTREAM = replace(policy_named("upstream"), build=_build)


class Oracle(Verbs):
    def arrive(self, s, now_ns, unit, order, merged, quiet, cpu):
        return INSTANT

    def wake(self, s, now_ns):
        return INSTANT

    def tell(self, s, now_ns, what, where):
        if what == REGISTERED:
            self.deadline_ns = now_ns


PLAIN_ORACLE = replace(policy_named("oracle"), build=lambda *_: plain_program(Oracle()))
