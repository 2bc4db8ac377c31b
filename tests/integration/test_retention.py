"""Claims about what is deleted, what never is, and what happens afterwards; real files.

The ledger is real, the clock the test's. A series is three small slices.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.ct import ct_stack, save
from support.pacs import Pacs
from support.sent_results import SEG, SERIES, START, Site
from support.small_node import result_pacs

from dicom_node.node.retention import purge, survey
from dicom_node.node.status import node_status
from dicom_node.persistence.ledger import Ledger
from dicom_node.persistence.rows import DeliveryState, SeriesState
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import Completion
from dicom_node.spool.arrivals import SeriesArrival
from dicom_node.spool.spool import Spool
from dicom_node.spool.watcher import Watcher

Make = Callable[..., Site]
LATE = {"days": 31.0}


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    with result_pacs().running() as pacs:
        yield pacs


@pytest.fixture
def make(tmp_path: Path, pacs: Pacs) -> Iterator[Make]:
    """Makes a node that keeps images 30 days and results 60, with one received series."""
    ledgers: list[Ledger] = []

    def site(*, confirm: str = "no", **sections: Any) -> Site:
        peer = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}
        table = {
            "node": {"spool": "spool", "results": "results", "database": "db"},
            "delivery": {"timeout_s": 5.0},
            "retention": {"images_d": 30, "results_d": 60},
            "destinations": [{**peer, "confirm": confirm}],
            **sections,
        }
        config = parse_config(table, source="test", folder=tmp_path)
        ledgers.append(Ledger(config.node.database_url))
        return Site(config, ledgers[-1])

    receive(tmp_path / "spool" / SERIES, (0.0, 2.0, 4.0))
    yield site
    for ledger in ledgers:
        ledger.close()


def receive(folder: Path, positions: tuple[float, ...]) -> None:
    """Put slices into the spool under the names that they have there, as at the start."""
    for path in save(ct_stack(positions), folder):
        os.utime(path, (START.timestamp(), START.timestamp()))


def hand_over(site: Site, *, seconds: float = 60.0) -> list[SeriesArrival]:
    """Look at the spool so long after the images came; what was handed over."""
    got: list[SeriesArrival] = []
    watcher = Watcher(
        Spool(site.config.node.spool),
        Completion(quiet_s=1.0, give_up_s=10.0),
        got.append,
        clock=lambda: START.timestamp() + seconds,
    )
    watcher.poll()
    return got


def images(site: Site) -> int:
    return len(list((site.config.node.spool / SERIES).glob("*.dcm")))


def files(site: Site) -> int:
    return len(list(site.config.node.results.rglob("*.dcm")))


def clear(site: Site, **step: float) -> None:
    """Purge so long after now."""
    site.clock.advance(**step)
    purge(site.config, site.ledger, site.clock())


def reasons(site: Site) -> dict[str, str]:
    return {each.what: each.reason for each in survey(site.config, site.ledger, site.clock())}


def test_images_and_results_go_when_their_days_are_over(make: Make) -> None:
    site = make()
    hand_over(site)
    site.do_jobs(site.answer())
    clear(site, days=29)
    assert (images(site), files(site)) == (3, 2)

    clear(site, days=2)
    assert (images(site), files(site)) == (0, 2)
    assert reasons(site) == {"results": "younger than 60 days"}

    clear(site, days=30)
    assert (images(site), files(site)) == (0, 0)
    assert list(site.config.node.results.iterdir()) == []


def test_without_settings_nothing_ever_goes(make: Make) -> None:
    site = make(retention={})
    hand_over(site)
    site.do_jobs(site.answer())
    clear(site, days=3650)

    assert (images(site), files(site)) == (3, 2)
    assert reasons(site)["images"] == "retention.images_d is not set"


def test_what_is_not_confirmed_stays(make: Make, pacs: Pacs) -> None:
    pacs.unlisted = {SEG}
    site = make(confirm="query")
    hand_over(site)
    site.do_jobs(site.answer(), most=2)
    clear(site, days=400)
    assert (images(site), files(site)) == (3, 2)
    assert reasons(site)["images"] == "not confirmed by pacs"

    pacs.unlisted = set()
    site.do_jobs(site.delivery_jobs.due())
    clear(site, days=61)
    assert (images(site), files(site)) == (0, 0)


@pytest.mark.parametrize(
    ("state", "words"),
    [(DeliveryState.WAITING, "waiting for pacs"), (DeliveryState.HELD, "held for pacs")],
)
def test_what_has_not_been_taken_stays(make: Make, state: DeliveryState, words: str) -> None:
    site = make()
    hand_over(site)
    site.do_jobs(site.answer())
    site.ledger.save(replace(site.row(SEG), state=state, reason="why"))
    clear(site, days=400)

    assert (images(site), files(site)) == (3, 2)
    assert set(reasons(site).values()) == {words}


def test_one_destination_that_lacks_an_object_keeps_it_for_all(make: Make) -> None:
    site = make()
    hand_over(site)
    site.do_jobs(site.answer())
    site.ledger.save(replace(site.row(SEG), destination="viewer", state=DeliveryState.HELD))
    clear(site, days=400)

    assert reasons(site)["images"] == "held for viewer"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": SeriesState.SEGMENTED}, "not answered yet"),
        ({"state": SeriesState.REFUSED, "revision": 2}, "answered with nothing"),
        ({"state": SeriesState.FAILED}, "its analysis failed"),
    ],
)
def test_what_is_not_answered_well_stays(
    make: Make, change: dict[str, Any], words: str
) -> None:
    """A refusal that no object could be made of; a failure that a person may try again."""
    site = make()
    hand_over(site)
    site.do_jobs(site.answer())
    (row,) = site.ledger.revisions(SERIES)
    site.ledger.save(replace(row, **change))
    clear(site, days=400)

    assert images(site) == 3
    assert reasons(site)["images"] == words


def test_a_label_map_goes_with_the_objects_that_it_lies_beside(make: Make) -> None:
    site = make()
    hand_over(site)
    site.do_jobs(site.answer())
    (folder,) = {path.parent for path in site.config.node.results.rglob("*.dcm")}
    for name in ("labels.nii.gz", "labels.json"):
        (folder / name).write_bytes(b"made up")
    clear(site, days=61)

    assert not list(site.config.node.results.rglob("*"))


def test_results_that_went_nowhere_are_the_only_copy_and_stay(make: Make) -> None:
    site = make(destinations=[])
    hand_over(site)
    site.answer()
    clear(site, days=400)

    assert (images(site), files(site)) == (3, 2)
    assert reasons(site)["results"] == "its results went to no destination"


def test_images_that_the_ledger_does_not_know_stay(make: Make) -> None:
    site = make()
    assert reasons(site) == {"images": "not complete yet"}
    hand_over(site)
    clear(site, days=400)

    assert images(site) == 3
    assert reasons(site) == {"images": "not in the ledger"}


def test_the_same_images_sent_again_after_a_purge_are_known_and_go_again(make: Make) -> None:
    site = make()
    assert len(hand_over(site)) == 1
    site.do_jobs(site.answer())
    clear(site, **LATE)
    receive(site.config.node.spool / SERIES, (0.0, 2.0, 4.0))

    assert hand_over(site) == []
    clear(site, **LATE)
    assert images(site) == 0


def test_a_late_slice_after_a_purge_waits_until_the_whole_series_is_sent_again(
    make: Make,
) -> None:
    """Alone it would be a series of one slice, refused, and the refusal sent to the archive."""
    site = make()
    hand_over(site)
    site.do_jobs(site.answer())
    clear(site, **LATE)
    folder = site.config.node.spool / SERIES
    receive(folder, (0.0, 2.0, 4.0, 6.0))
    (whole := sorted(folder.glob("*.dcm")))[0].rename(folder / "elsewhere")
    assert hand_over(site) == []
    clear(site, days=400)
    assert images(site) == 3
    assert reasons(site)["images"].endswith("the whole series must be sent again")

    (folder / "elsewhere").rename(whole[0])
    (arrival,) = hand_over(site)
    assert (arrival.revision, len(arrival.paths)) == (2, 4)


def test_a_purge_that_was_killed_halfway_is_finished_the_next_time(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make()
    hand_over(site)
    site.do_jobs(site.answer())
    deleted: list[Path] = []
    unlink = Path.unlink

    def die_at_the_second(path: Path, missing_ok: bool = False) -> None:
        if deleted:
            raise KeyboardInterrupt
        deleted.append(path)
        unlink(path, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", die_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            clear(site, **LATE)
    assert images(site) == 2
    assert hand_over(site) == []

    clear(site, seconds=1)
    assert images(site) == 0


def test_status_says_what_is_kept_and_why(make: Make) -> None:
    site = make(retention={})
    hand_over(site)
    site.do_jobs(site.answer())

    kept = {(what, reason): series for what, reason, series, _ in node_status(site.config).kept}
    assert kept == {
        ("images", "retention.images_d is not set"): 1,
        ("results", "retention.results_d is not set"): 1,
    }
