"""OHIF in a headless Chromium: what a reader sees of a study, asked for by program.

Everything runs in the network namespace of the thread that opens it. The viewer is driven as
a person would where that matters (series are opened from the study's list); its services
are asked only for what a person reads off the screen, and for where a point of the patient is.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import TimeoutError as ViewerTimeoutError
from playwright.sync_api import sync_playwright

from support.orthanc import HTTP_PORT
from support.web_server import serving

HARNESS = Path(__file__).parents[1] / "harness"
CONFIGURATION = HARNESS / "ohif-config.js"
NAME = (HARNESS / "ohif.sha512").read_text().split()[1].removesuffix(".tgz")
VERSION = NAME.rpartition("-")[2]
DIST = HARNESS / ".cache" / NAME / "package" / "dist"
CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",  # root in a container has none
    "--use-gl=angle",  # WebGL without a graphics card
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--no-first-run",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZE = {"width": 1600, "height": 1000}
ERROR_PAGE = "Error Boundary"
"""What OHIF tells the console when it shows "Something went wrong"."""

PATIENCE_S = 120.0
TRIES = 6
SETTLED_MS = 400
"""A picture that is the same after so long is taken to stand still."""

_VIEWPORT = """
  const id = services.viewportGridService.getActiveViewportId();
  const viewport = services.cornerstoneViewportService.getCornerstoneViewport(id);
"""


def missing() -> list[str]:
    """What the viewer needs and this machine does not have."""
    needs = {
        "chromium": shutil.which(CHROMIUM) is not None,
        f"OHIF {VERSION} (npm)": (DIST / "index.html").is_file(),
    }
    return [name for name, there in needs.items() if not there]


@dataclass(frozen=True, slots=True)
class ListedSeries:
    """A series as the viewer's list has it; `handler` is its word for how it opens it."""

    identifier: str
    series_instance_uid: str
    modality: str
    description: str
    handler: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """A segment as the viewer lists it: its own index, the label, and the colour it draws."""

    index: int
    label: str
    rgb: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Annotation:
    """An outline as it is drawn: the lines beside it, and the middle of its points."""

    lines: tuple[str, ...]
    middle_mm: tuple[float, float, float]


class Viewer:
    """A browser window on the viewer; `open` a study first."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.address = address
        self.console: list[str] = []
        page.on("console", lambda message: self.console.append(message.text))
        page.on("pageerror", lambda error: self.console.append(f"error: {error}"))

    def open(self, study_instance_uid: str, series: int) -> None:
        """Open a study and wait until its first image and this many series are there."""
        self.console.clear()
        self.page.goto(f"{self.address}/viewer?StudyInstanceUIDs={study_instance_uid}")
        self.wait(
            "count => window.services?.displaySetService"
            ".getActiveDisplaySets().length >= count",
            series,
        )
        self.wait(f"() => {{ {_VIEWPORT} return Boolean(viewport?.getImageData?.()); }}")

    def series(self) -> list[ListedSeries]:
        """What the study's list shows."""
        found = self.page.evaluate(
            "services.displaySetService.getActiveDisplaySets().map(one => ["
            " one.displaySetInstanceUID, one.SeriesInstanceUID, one.Modality,"
            " one.SeriesDescription ?? '', one.SOPClassHandlerId.split('.').pop()])"
        )
        return [ListedSeries(*one) for one in found]

    def open_series(self, series: ListedSeries) -> None:
        """Open a series by a double click on its row in the list."""
        self.page.locator(f'[id="thumbnail-{series.identifier}"]').dblclick()

    def load_segmentation(self, series: ListedSeries) -> tuple[Drawn, ...]:
        """Open a segmentation over the images, and wait until the viewer says it has it.

        That it says so does not mean that anything is drawn.
        """
        self.open_series(series)
        self.wait(
            "uid => services.segmentationService.getSegmentations()"
            ".some(one => one.segmentationId === uid)",
            series.identifier,
        )
        self.wait(
            f"""uid => {{ {_VIEWPORT}
              return services.segmentationService.getSegmentationRepresentations(id)
                .some(one => one.segmentationId === uid); }}""",
            series.identifier,
        )
        found = self.page.evaluate(
            f"""uid => {{ {_VIEWPORT}
              const {{ segments }} = services.segmentationService.getSegmentation(uid);
              return Object.values(segments).map(({{ segmentIndex, label }}) => [
                segmentIndex, label,
                services.segmentationService.getSegmentColor(id, uid, segmentIndex)]); }}""",
            series.identifier,
        )
        return tuple(Drawn(index, label, tuple(rgba[:3])) for index, label, rgba in found)

    def show_only(self, series: ListedSeries, indices: Collection[int]) -> None:
        """Hide all other segments, as with the eye beside each in the viewer's panel."""
        self.page.evaluate(
            f"""([uid, indices]) => {{ {_VIEWPORT}
              const service = services.segmentationService;
              for (const {{ segmentIndex }} of
                   Object.values(service.getSegmentation(uid).segments))
                service.setSegmentVisibility(
                  id, uid, segmentIndex, indices.includes(segmentIndex)); }}""",
            [series.identifier, list(indices)],
        )

    def opacity(self, series: ListedSeries) -> float:
        """How strongly its colours cover the image; less where it is not the active one."""
        return float(
            self.page.evaluate(
                f"""uid => {{ {_VIEWPORT}
                  const {{ active, styles }} = services.segmentationService
                    .getSegmentationRepresentations(id)
                    .find(one => one.segmentationId === uid);
                  return active ? styles.fillAlpha : styles.fillAlphaInactive; }}""",
                series.identifier,
            )
        )

    def show_image(self, sop_instance_uid: str) -> None:
        """Scroll the stack to an image."""
        self.wait(f"() => {{ {_VIEWPORT} return Boolean(viewport?.getImageIds?.().length); }}")
        self.page.evaluate(
            f"""async uid => {{ {_VIEWPORT}
              const index = viewport.getImageIds().findIndex(one => one.includes(uid));
              if (index < 0) throw new Error('no such image in the stack: ' + uid);
              await viewport.setImageIdIndex(index); }}""",
            sop_instance_uid,
        )

    def where(self, points_mm: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
        """Where points of the patient lie in `picture`: column and row."""
        found = self.page.evaluate(
            f"""points => {{ {_VIEWPORT}
              return points.map(one => viewport.worldToCanvas(one)); }}""",
            [[float(value) for value in point] for point in points_mm],
        )
        return [(round(x), round(y)) for x, y in found]

    def annotation(self, uid: str, show: Callable[[], None]) -> Annotation:
        """An outline, by its tracking UID; `show` goes to its slice.

        It may have to do so again: when OHIF has loaded a report it goes to a slice of its
        own choice, and on a busy machine does that after we went to ours.
        """
        is_there = "selector => document.querySelector(selector) !== null"
        text = f'g[data-annotation-uid="{uid}"] text tspan'
        for _ in range(TRIES - 1):
            show()
            with suppress(AssertionError):
                self.wait(is_there, text, PATIENCE_S / TRIES)
                break
        else:
            show()
            self.wait(is_there, text)
        points = self.page.evaluate(
            """uid => Object.values(cornerstoneTools.annotation.state.getAnnotation(uid)
              .data.renderableData).flat(2)""",
            uid,
        )
        x, y, z = np.reshape(points, (-1, 3)).mean(axis=0).tolist()
        return Annotation(tuple(self.page.locator(text).all_text_contents()), (x, y, z))

    def picture(self) -> NDArray[np.uint8]:
        """The viewport as it is on the screen, standing still: RGB [row, column, channel]."""
        box = self.page.evaluate(
            f"""() => {{ {_VIEWPORT}
              const {{ x, y, width, height }} = viewport.canvas.getBoundingClientRect();
              return {{ x, y, width, height }}; }}"""
        )
        deadline = time.monotonic() + PATIENCE_S
        before = b""
        while (now := self.page.screenshot(clip=box)) != before:
            if time.monotonic() > deadline:
                raise AssertionError("the viewer's picture does not stand still")
            before = now
            self.page.wait_for_timeout(SETTLED_MS)
        return np.asarray(Image.open(BytesIO(now)).convert("RGB"))

    def text(self) -> str:
        """What stands in the viewport as text; empty beside images."""
        return str(self.page.locator('[data-cy="viewport-pane"]').inner_text())

    def errors(self) -> list[str]:
        """What the viewer's error page was about, since the study was opened; none without.

        It may go away by itself, and leaves a black viewport.
        """
        return [line for line in self.console if ERROR_PAGE in line]

    def save(self, path: Path) -> None:
        """Keep the whole window as a picture."""
        self.page.screenshot(path=path)

    def wait(
        self, condition: str, argument: object = None, patience_s: float = PATIENCE_S
    ) -> None:
        """Wait for a condition in the page; the viewer's last words if it never holds."""
        try:
            self.page.wait_for_function(condition, arg=argument, timeout=1000 * patience_s)
        except ViewerTimeoutError as error:
            words = "\n".join(self.console[-10:])
            raise AssertionError(f"the viewer never came to: {condition}\n{words}") from error


@contextmanager
def viewer(folder: Path) -> Iterator[Viewer]:
    """A browser with the viewer over Orthanc, in the calling thread's namespace.

    folder: for the browser's profile, a fresh one.
    """
    with serving(DIST, CONFIGURATION, HTTP_PORT) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            folder, executable_path=CHROMIUM, headless=True, viewport=SIZE, args=FLAGS
        )
        browser.set_default_timeout(1000 * PATIENCE_S)
        try:
            yield Viewer(browser.pages[0], address)
        finally:
            browser.close()
