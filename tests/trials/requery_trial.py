"""A re-query of an archive, killed three times: `requery_trial.py [STUDIES [FOLDER]]`.

Orthanc holds the studies of `support/hip_archive.py` (60; 12 at the least). A third has been
answered by the node before, as the scanner sent them. Then a schedule asks for all of them, and
the node is killed with SIGKILL while it asks, while images come, and while it analyses. In the
end every series is in the one state that it should be in, nothing was retrieved twice, and
Orthanc has every result once. Then the tables and the cohort's report are made from the
database, and a browser takes pictures of the report; they are in FOLDER, to be looked at.

Needs root (for the namespace), Orthanc, DCMTK and Chromium.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(1, str(Path(__file__).parents[2]))

from playwright.sync_api import sync_playwright
from support.hip_archive import Sort, counts_of, hip_archive
from support.namespace import make_namespace
from support.ohif import CHROMIUM
from support.requeried import Requeried, judge, requeried, wait_while_alive

from dicom_node.persistence.archive_rows import ArchiveState, WindowState

OUT: Final = Path(__file__).parent / "out"
PATIENCE_S: Final = 5400.0


def main(studies: int, folder: Path) -> int:
    """One trial; the exit code says whether all was well."""
    began_s = time.monotonic()
    for left in ("node", "orthanc", "studies"):  # of a trial before: it has been listed
        shutil.rmtree(folder / left, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    namespace = make_namespace(f"msk-requery-{os.getpid()}")
    try:
        with requeried(namespace, folder, samples=2) as trial:
            counts = counts_of(studies)
            trial.node.start()
            trial.fill(hip_archive(counts), folder / "studies")
            say(f"{studies} studies are in the archive")
            first = counts[Sort.PROCESSED]
            wait_while_alive(trial, lambda: trial.has_answered(first), PATIENCE_S, "answers")
            say(f"{first} are answered already")
            say(trial.begin().strip())
            three_kills(trial)
            wait_while_alive(trial, trial.is_at_rest, PATIENCE_S, "it comes to rest")
            took_min = (time.monotonic() - trial.begun_s) / 60
            wrong = judge(trial)
            tell(trial, took_min)
            look(trial, folder)
    finally:
        namespace.remove()
    say(f"{(time.monotonic() - began_s) / 60:.1f} minutes in all")
    say("\n".join(wrong) or "all is well")
    return 1 if wrong else 0


def three_kills(trial: Requeried) -> None:
    """While it asks, while images come, and while it analyses."""
    kill_when(trial, "while asking", lambda: trial.events("requery.window"))
    kill_when(trial, "while retrieving", lambda: has_fetched(trial, 4) and trial.is_coming())
    kill_when(trial, "while analysing", lambda: has_fetched(trial, 2) and analyses(trial))


def kill_when(trial: Requeried, words: str, condition: Callable[[], object]) -> None:
    """Kill the node at a moment, and start it again."""
    wait_while_alive(trial, condition, PATIENCE_S, words, 0.01)
    kill = trial.kill(words)
    say(f"killed {words}, {kill.at_s:.0f} s after the beginning")
    trial.node.start()


def has_fetched(trial: Requeried, part: int) -> bool:
    """Whether the n-th part of what is wanted is here."""
    states = [row.state for row in trial.rows()]
    fetched = states.count(ArchiveState.FETCHED)
    return fetched * part >= fetched + states.count(ArchiveState.WANTED)


def analyses(trial: Requeried) -> bool:
    """Whether a child of the node has its first slices behind it, and goes on."""
    log = trial.node.log.read_bytes()
    return log.rfind(b'"analysis.progress"') > max(
        log.rfind(b'"analysis.ended"'), log.rfind(b'"node.started"')
    )


def tell(trial: Requeried, took_min: float) -> None:
    """The figures."""
    for kill in trial.kills:
        say(
            f"killed {kill.when} at {kill.at_s:.0f} s: windows {_counts(kill.windows)}; "
            f"series {_counts(kill.series)}; {kill.coming} in part here, "
            f"{kill.analysing} to be answered"
        )
    for words, count in sorted(trial.states().items()):
        say(f"{count:4d}  {words}")
    asked = trial.asked()
    say(f"{asked.finds} C-FINDs, {asked.moves} C-MOVEs, {took_min:.1f} minutes")
    say(f"{asked.sent.total()} series or images sent for them, {len(asked.sent)} different")
    say(trial.msk_node("requery", "status"))
    say(str(trial.events("requery.night")))


def _counts(states: Mapping[WindowState, int] | Mapping[ArchiveState, int]) -> str:
    """How many are in each state."""
    return ", ".join(f"{count} {state}" for state, count in states.items() if count) or "none"


def look(trial: Requeried, folder: Path) -> None:
    """The tables, the report, and pictures of it."""
    for name in ("structures.csv", "structures.parquet"):
        say(trial.msk_node("export", "--out", str(folder / name)).strip())
    page = folder / "cohort.html"
    say(trial.msk_node("cohort", "--out", str(page)).strip())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        window = browser.new_page(viewport={"width": 1400, "height": 1000})
        window.goto(page.as_uri())
        for number, part in enumerate(window.locator("section").all()):
            part.screenshot(path=folder / f"cohort-{number}.png")
        window.screenshot(path=folder / "cohort.png", full_page=True)
        browser.close()


def say(words: str) -> None:
    """Tell what is done, or found."""
    print(words, flush=True)  # noqa: T201


if __name__ == "__main__":
    number, where = [*sys.argv[1:], *("60", str(OUT))[len(sys.argv) - 1 :]][:2]
    sys.exit(main(int(number), Path(where)))
