"""A process's membership in a shared store: reports that it is alive, and learns its share.

The process keeps to its share while the store is lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from headrace.limits.absence import grow, has_charged, shrink, told
from headrace.limits.account import Account
from headrace.limits.blocks import Blocks
from headrace.limits.limit import Unit
from headrace.limits.lock import Lock
from headrace.limits.members import Reservation
from headrace.limits.quota import LEASE, Quota, tag_of, windowed, windows_of
from headrace.limits.roster import Roster
from headrace.limits.store import KEPT, Message, Sign, Store, Term, read_sign, reporting
from headrace.limits.turns import SharedAdmission

REPORTS: Final = 2.9
"""Longest time between two reports in seconds: a report waits that long for another message to travel with. A second
less than the store's epoch."""
IN_TIME: Final = 5.0
"""Seconds after which an unanswered report is considered lost."""
GRACE, LONGEST_GRACE = 4.0, 15.0
"""Seconds after the store's return during which a process keeps to its share, until all others have reported what they
charged meanwhile; and the upper bound, if on a busy machine fewer processes than before have reported by then."""
IDLE: Final = 60.0
"""Seconds without a call after which a process no longer gets a share by its demand."""


class Presence:
    """The state of the connection between this process and the store."""

    def __init__(
        self,
        store: Store,
        lock: Lock,
        roster: Roster,
        admission: SharedAdmission,
        unsure: Mapping[int, Reservation],
        rests: Callable[[Quota, Mapping[str, float], float], None],
    ) -> None:
        """unsure: reservations that have not heard from the store.

        rests: receives the deployments in cooldown, under the lock.
        """
        self._store, self._lock, self._roster, self._admission = store, lock, roster, admission
        self._unsure, self._rests = unsure, rests
        self._number = id(self)
        self._quotas: dict[Account, Quota] = {}
        self._begun = False
        """Whether we have started to report, which the first call does."""
        self.lost_at: float | None = None
        self.shrunk_at = -math.inf
        """When limits were last reduced to our share."""
        self._back_at = -math.inf
        """When the store returned."""
        self._most_processes = 1
        self.blocks = Blocks(store, lock, self)
        store.attach(self.beat)

    @property
    def lost(self) -> bool:
        """Whether the store is lost at present, and only this process's share of each limit is used."""
        return self.lost_at is not None

    @property
    def process(self) -> str:
        return f"{self._store.process}.{self._number:x}"

    def quota(self, account: Account) -> Quota:
        quota = self._quotas.get(account)
        if quota is None:
            quota = self._quotas[account] = Quota(account, tag_of(account.name))
        return quota

    # ---- heartbeats

    def begin(self, now: float) -> None:
        """Start to report, at the first call."""
        if not self._begun:
            self._begun = True
            self._report(now)

    def beat(self, now: float) -> None:
        """About once a second, from any thread: report, learn our share, and check whether a lost store is back."""
        if not self._begun:
            return
        if not self.lost and self._back_at + GRACE <= now:
            self._whole_again(now)
        with self._lock:
            self.blocks.look_after(list(self._quotas.values()), now)
        self._report(now)

    def _report(self, now: float) -> None:
        with self._lock:
            self._know_all()
            due = [(quota, terms := windows_of(quota), self._sign(quota, terms, now)) for quota in self._due(now)]
        for quota, terms, message in due:
            self._store.post(message, partial(self._reported, quota, terms))

    def _know_all(self) -> None:
        """Create a quota for each account, and drop those of removed accounts."""
        accounts = set(self._roster.accounts())
        self._quotas = {account: quota for account, quota in self._quotas.items() if account in accounts or quota.under_way}
        for account in accounts:
            self.quota(account)

    def _due(self, now: float) -> list[Quota]:
        """Quotas to report on now: all active ones without a pending report.

        If the store is lost, a single one, to find out whether it is back.
        """
        if self.lost:
            return list(self._quotas.values())[:1]
        return [quota for quota in self._quotas.values() if quota.reports_from <= now and _lives(quota, now)]

    def _sign(self, quota: Quota, terms: Sequence[Term], now: float) -> Message:
        waiting = 0.0
        for group in self._roster.groups.values():
            if group.line and any(member.account is quota.account for member in group.members):
                waiting += len(group.line) / len(group.members)
        demand = quota.demand(now) + waiting + len(quota.turns)
        patience = 0.0 if self.lost else max(0.0, quota.reported_at + REPORTS - now)
        quota.reports_from = now + patience + IN_TIME
        limited = any(meter.limit.unit is Unit.IN_FLIGHT for meter in quota.account.meters)
        return reporting(quota.tag, self.process, demand, LEASE, quota.ids() if limited else [], terms, patience=patience)

    def _reported(self, quota: Quota, terms: Sequence[Term], reply: list[str] | None, now: float) -> None:
        quota.reports_from = now
        if reply is None:
            self.lose(now)
            return
        quota.reported_at = now
        sign = read_sign(reply)
        if self.lost:
            self._recover(now, sign.now)
        elif not quota.telling and not self.same_books(quota, sign.born, now):
            self.lose(now)
            self._recover(now, sign.now)
        else:
            self._heed(quota, terms, sign, now)

    def _heed(self, quota: Quota, terms: Sequence[Term], sign: Sign, now: float) -> None:
        with self._lock:
            for term, (used, debt, ever) in zip(terms, sign.states, strict=True):
                quota.saw(term, now, used, debt, ever)
            for term, meter in zip(terms, windowed(quota), strict=True):
                used = quota.seen[term.key][1]
                quota.saw_money(meter, used, now)
                if not self.lost:
                    quota.saw_others(meter, used, now)
            quota.in_flight = sign.in_flight
            quota.here = sign.processes
            if not quota.scaled:  # otherwise other processes have yet to report: shares based on the first few are useless
                quota.share, quota.least, quota.processes = sign.share, sign.least, sign.processes
            self._most_processes = sign.processes
            if sign.held > 0:
                quota.account.held_until = max(quota.account.held_until, now + sign.held)
            self._rests(quota, sign.rests, now)
            if quota.try_for_place(now):
                self._look_again(now)

    def same_books(self, quota: Quota, born: float, now: float) -> bool:
        """Whether the store still has the data that we knew. If not, it has lost what was charged, by us or by others.

        Data that no process reports on expires. It is then new as well, which only matters if we still have charges.
        """
        if quota.born not in (0.0, born):
            unwatched = now - quota.reported_at > KEPT
            if not unwatched or quota.under_way or has_charged(quota, list(self._unsure.values()), now):
                return False
        quota.born = born
        return True

    # ---- without the store

    def lose(self, now: float) -> None:
        """Reduce each limit to our share from now on."""
        with self._lock:
            if self.lost:
                return
            self.lost_at = self.shrunk_at = now
            self._know_all()
            for quota in self._quotas.values():
                quota.drop_blocks()
                shrink(quota, self._share(quota, now), list(self._unsure.values()), now)
            self._admission.by_share = True
            self._look_again(now)

    def _share(self, quota: Quota, now: float) -> float:
        if quota.least is None:
            return 1 / (4 * (self._most_processes + 1))
        share = quota.share or 0.0  # a process in no table yet may be one of many
        return share if now - quota.asked_at < IDLE or quota.under_way else min(share, quota.least)

    def _recover(self, now: float, store_now: float) -> None:
        """The store is back: report what was charged without it, and keep to our share until the others have done so."""
        with self._lock:
            lost_at, self.lost_at = self.lost_at, None
            if lost_at is None:
                return
            self._back_at, unsure = now, list(self._unsure.values())
            messages = [(quota, told(quota, lost_at, unsure, now, store_now)) for quota in self._quotas.values()]
            for quota in self._quotas.values():
                quota.drop_blocks()
                quota.telling, quota.here = True, 0
                quota.flow.clear()
        for quota, message in messages:
            self._store.post(message, partial(self._restored, quota))

    @staticmethod
    def _restored(quota: Quota, reply: list[str] | None, now: float) -> None:
        quota.telling = False
        if reply is not None:
            quota.born = float(reply[0])

    def _whole_again(self, now: float) -> None:
        """The grace period is over: restore the full limits, with which the store decides again."""
        with self._lock:
            late = self._back_at + LONGEST_GRACE <= now
            scaled = [quota for quota in self._quotas.values() if quota.scaled]
            reduced = [quota for quota in scaled if late or quota.here >= quota.processes or not _lives(quota, now)]
            for quota in reduced:
                grow(quota, now)
            self._admission.by_share = len(scaled) > len(reduced)
            if reduced:
                self._look_again(now)

    def _look_again(self, now: float) -> None:
        """Match all queues again."""
        for group in self._roster.groups.values():
            if group.line:
                self._admission.match(group, now)


def _lives(quota: Quota, now: float) -> bool:
    """Whether a quota is active: it was used recently, or nothing is known yet."""
    return quota.under_way or now - quota.asked_at < IDLE or quota.share is None
