"""The chores that bound history: the horizon follows the window, and what is behind it is forgotten."""

from typing import Final

from esdfs.env import Clock
from esdfs.namenode import events as ev
from esdfs.namenode.config import NameNodeConfig
from esdfs.namenode.events import Event, RetentionSet
from esdfs.namenode.namespace.keeping import LEVEL_KEEPING
from esdfs.namenode.projection.horizon import wanted_horizon
from esdfs.namenode.projection.purging import Backlog, ends_after
from esdfs.namenode.projection.views import PresentView
from esdfs.namenode.projection.writer import Writer

STEPS_MAX: Final = 500
"""Of forgetting, within one record: some milliseconds of the one thread."""


class MoveHorizon:
    """Have the past begin where retention says.

    It moves when that is far enough, often enough, or retention changed, and only if something ended
    meanwhile: a cluster at rest writes no records about its history.
    """

    def __init__(self, config: NameNodeConfig, clock: Clock) -> None:
        self._step_records = config.horizon_step_records
        self._step_us = config.horizon_step_ms * 1_000
        self._clock = clock
        self._looked_us = 0
        self._retention: RetentionSet | None = None

    def is_due(self, view: PresentView) -> bool:
        """See ``Chore.is_due``."""
        if view.feature_level() < LEVEL_KEEPING:
            return False
        now_us, retention = self._clock.wall_us(), view.retention()
        horizon = wanted_horizon(view, now_us)
        often_enough = now_us - self._looked_us >= self._step_us or retention != self._retention
        if not often_enough and horizon - view.oldest_txid() < self._step_records:
            return False
        self._looked_us, self._retention = now_us, retention
        return ends_after(view, view.oldest_txid(), horizon)

    def make(self, writer: Writer) -> Event | None:
        """See ``Chore.make``."""
        horizon = wanted_horizon(writer, self._clock.wall_us())
        return ev.HorizonMoved(horizon) if horizon > writer.oldest_txid() else None


class PurgeHistory:
    """Forget what the horizon left behind; see ``projection.purging``."""

    def is_due(self, view: PresentView) -> bool:
        """See ``Chore.is_due``."""
        return view.feature_level() >= LEVEL_KEEPING and not Backlog(view).is_empty()

    def make(self, writer: Writer) -> Event | None:
        """See ``Chore.make``."""
        writer.write_all()
        return None if Backlog(writer).is_empty() else ev.HistoryPurged(STEPS_MAX)
