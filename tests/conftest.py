"""What every test shares: the support folder on the path, and the reference data if present."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

# How long an example takes says something of the machine, not of the claim.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")

sys.path.insert(0, str(Path(__file__).parent))

from support.shares import WORKER, share_of, turn_of  # noqa: E402 - found on the path above

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

if WORKER:
    # As many workers as cores, each with the processes that it starts: were torch in each to
    # take every core too, they would only wait for each other. Read when torch is first loaded.
    os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).parents[1]
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden dumps anew")
    parser.addoption(
        "--update-conformance",
        action="store_true",
        help="write docs/conformance.md anew, from a run of the whole harness",
    )
    parser.addoption(
        "--all-faults",
        action="store_true",
        help="run every cell of the fault matrix, and write its table anew",
    )


@pytest.hookimpl(optionalhook=True)  # plain pytest does without xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Hand out whole shares of the run, in the order of collection."""
    from support.scheduling import ShareScheduling  # noqa: PLC0415 - imports xdist

    config.option.loadscopereorder = False
    return ShareScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On a worker, put the long shares first."""
    if WORKER:
        paths = {item: item.path.relative_to(ROOT).as_posix() for item in items}
        items.sort(key=lambda item: turn_of(share_of(paths[item])))


def _plain_logging() -> None:
    """Structlog as it comes, but for tracebacks with the values of all variables in them.

    To print one takes seconds where the variables are an application or a volume.
    """
    structlog.reset_defaults()
    *before, _ = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(
        colors=False, exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(processors=[*before, plain])


_plain_logging()


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Undo what a command sets up for its log: its stream ends with its test."""
    handlers = logging.getLogger().handlers[:]
    yield
    _plain_logging()
    logging.captureWarnings(capture=False)
    logging.getLogger().handlers = handlers


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of reference CT and atlases beside the checkout, or a skip that says so."""
    if not SHARED_DATA.is_dir():
        pytest.skip("reference data (../shared/data) is not beside the checkout")
    return SHARED_DATA
