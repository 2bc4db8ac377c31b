"""The scheduler of pytest-xdist that hands out shares.

xdist's own `--dist=loadgroup` would do, but version 3.8.0 marks an item's group in a field that
pytest 9.2 no longer has, and then quietly hands out single tests.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

from support.shares import share_of


class ShareScheduling(LoadScopeScheduling):
    """A worker that has begun a share runs all of it."""

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid.partition("::")[0])
