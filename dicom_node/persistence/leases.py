"""Workers on a database that several nodes share: leases, heartbeats, and taking over.

A worker holds the row of its name for as long as it renews it in time; the row carries a
token that is new at every start. When the lease of a worker runs out, another takes the row
and with it the work. From then on nothing the first one does is written: every write to the
ledger looks at the row first, in the same transaction (`fence`), and the queue refuses its
records by a token of its own. A worker that was frozen learns of it at its next heartbeat,
and ends; its supervisor starts it again under a new token.

All times are the database's, so that the clocks of the machines need not agree.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert

from dicom_node.errors import EngineBusyError, LeaseLostError
from dicom_node.persistence.database import define

log = structlog.get_logger()

METADATA: Final = sa.MetaData()
LEASES: Final = sa.Table(
    "leases",
    METADATA,
    sa.Column("executor_id", sa.String(64), primary_key=True),
    sa.Column("token", sa.String(64), nullable=False),
    sa.Column("expires_s", sa.Double, nullable=False),
)
NOW_S: Final = sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)
"""The database's clock, not the beginning of the transaction."""

BEATS: Final = 3
"""Heartbeats in the time of one lease."""
GRACE: Final = 1.5
"""Leases for which nobody is taken to be dead after the database, or we, were away: the
others could not renew theirs either."""


def may_take_over(now_s: float, trouble_s: float, lease_s: float) -> bool:
    """True if others' expired leases tell anything, so long after our own last trouble."""
    return now_s - trouble_s > GRACE * lease_s


@dataclass(slots=True)
class Leases:
    """The leases of one database, as one worker sees them.

    database: where they are; PostgreSQL.
    executor_id: our own name.
    lease_s: how long a lease lasts without a sign of life.
    token: what tells this start of ours from every other.
    """

    database: sa.Engine
    executor_id: str
    lease_s: float
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    _ended: threading.Event = field(default_factory=threading.Event, init=False)
    _beating: threading.Thread | None = field(default=None, init=False)

    def acquire(self) -> None:
        """Become the worker of our name; one that was killed just now is waited for.

        Raises:
            EngineBusyError: another worker of that name is alive.
        """
        define(self.database, METADATA)
        deadline_s = time.monotonic() + GRACE * self.lease_s
        while not self.claim(self.executor_id):
            if time.monotonic() > deadline_s:
                raise EngineBusyError(
                    f"another worker called {self.executor_id!r} works on this database; "
                    "give each node its own node.name"
                )
            time.sleep(self.lease_s / 20)

    def release(self) -> None:
        """Let our lease run out at once: whoever sees it first continues our work."""
        self._ended.set()
        if self._beating is not None:
            self._beating.join(self.lease_s)  # a last heartbeat must not come after
        with self.database.begin() as connection:
            connection.execute(
                sa.update(LEASES).where(*self._row(self.executor_id)).values(expires_s=NOW_S)
            )

    def claim(self, executor_id: str) -> bool:
        """Take a row that is nobody's, has run out, or is ours; whether it is ours now."""
        until_s = NOW_S + self.lease_s
        taken = insert(LEASES).values(
            executor_id=executor_id, token=self.token, expires_s=until_s
        )
        statement = taken.on_conflict_do_update(
            index_elements=["executor_id"],
            set_={"token": self.token, "expires_s": until_s},
            where=sa.or_(LEASES.c.expires_s <= NOW_S, LEASES.c.token == self.token),
        ).returning(LEASES.c.executor_id)
        with self.database.begin() as connection:
            return connection.execute(statement).first() is not None

    def renew(self) -> bool:
        """Give a sign of life; whether the row is still ours."""
        renewed = sa.update(LEASES).where(*self._row(self.executor_id))
        with self.database.begin() as connection:
            found = connection.execute(renewed.values(expires_s=NOW_S + self.lease_s))
        return found.rowcount == 1

    def fence(self, connection: sa.Connection) -> None:
        """Let a transaction continue only while the row is ours, and keep it so to its end.

        Raises:
            LeaseLostError: another worker has taken over.
        """
        held = sa.select(LEASES.c.token).where(*self._row(self.executor_id))
        if connection.execute(held.with_for_update(read=True)).first() is None:
            raise LeaseLostError(f"the work of {self.executor_id} was taken over by another")

    def dead(self, working: Iterable[str]) -> tuple[str, ...]:
        """The names of those that have work begun, or a lease, but none that lasts."""
        with self.database.connect() as connection:
            alive = sa.select(LEASES.c.executor_id).where(LEASES.c.expires_s > NOW_S)
            known = sa.select(LEASES.c.executor_id)
            living = set(connection.execute(alive).scalars())
            names = {*working, *connection.execute(known).scalars()}
        return tuple(sorted(names - living))

    def forget(self, executor_id: str) -> None:
        """Delete a row that we took from a dead worker whose work is in the queue again."""
        with self.database.begin() as connection:
            connection.execute(sa.delete(LEASES).where(*self._row(executor_id)))

    def is_first(self) -> bool:
        """True if we are the one who does what one worker of all should do."""
        first = sa.select(sa.func.min(LEASES.c.executor_id)).where(LEASES.c.expires_s > NOW_S)
        with self.database.connect() as connection:
            return connection.execute(first).scalar() == self.executor_id

    def keep(
        self,
        working: Callable[[], Iterable[str]],
        recover: Callable[[str], None],
        on_lost: Callable[[], None],
    ) -> threading.Thread:
        """Start the heartbeat on a thread of its own.

        Args:
            working: the workers that have begun something that is not finished.
            recover: puts a dead worker's work into the queue again.
            on_lost: called, once, when another has taken over from us.
        """

        def run() -> None:
            beat_s = trouble_s = time.monotonic()
            while not self._ended.wait(self.lease_s / BEATS):
                now_s = time.monotonic()
                if now_s - beat_s > self.lease_s:
                    trouble_s = now_s  # we were frozen, or slow: judge nobody yet
                beat_s = now_s
                try:
                    if not self.renew():
                        log.error("lease.lost", key=self.executor_id)
                        on_lost()
                        return
                    if may_take_over(now_s, trouble_s, self.lease_s):
                        self._take_over(working(), recover)
                except Exception as error:  # noqa: BLE001 - the heartbeat must continue
                    trouble_s = beat_s = time.monotonic()
                    log.warning("lease.error", reason=type(error).__name__)

        self._beating = threading.Thread(target=run, name="lease", daemon=True)
        self._beating.start()
        return self._beating

    def _take_over(self, working: Iterable[str], recover: Callable[[str], None]) -> None:
        """Take the row first, which fences its worker; then the work; then forget the row.

        Should we die in between, the row runs out again, and another does the same.
        """
        for name in self.dead(working):
            if name != self.executor_id and self.claim(name):
                log.warning("worker.dead", key=name)
                recover(name)
                self.forget(name)

    def _row(self, executor_id: str) -> tuple[sa.ColumnElement[bool], ...]:
        return (LEASES.c.executor_id == executor_id, LEASES.c.token == self.token)
