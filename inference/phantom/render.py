"""The phantom as a CT scan, and as a label map to train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from inference.geometry import Geometry
from inference.phantom.body import REFERENCE_BODY, BodySpec, body
from inference.phantom.raster import Plane, paint
from inference.phantom.spec import DEFAULT_PHANTOM, PhantomSpec, Table
from inference.phantom.tissues import BY_NAME, LEFT, hu_table, label_table
from inference.phantom.truth import KnownStructure, known_structures, segment_table
from inference.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A rendered body with its answers.

    volume: int16 HU.
    segments: uint8 segment numbers 1 to 43 on the volume's grid, by each voxel's centre.
    """

    spec: PhantomSpec
    volume: Volume
    segments: NDArray[np.uint8]

    @property
    def truth(self) -> tuple[KnownStructure, ...]:
        """The 43 known structures, in the order of `SEGMENTS`."""
        return known_answers(self.spec)


def phantom(spec: PhantomSpec = DEFAULT_PHANTOM) -> Phantom:
    """Render a phantom."""
    geometry = spec.geometry()
    hu = np.empty(geometry.shape, np.int16)
    segments = np.empty(geometry.shape, np.uint8)
    numbers, table = segment_table(), _table_section(spec)
    for index, height in enumerate(geometry.positions_mm[:, 2]):
        section = table.copy()
        for _ in paint(section, _fine_plane(geometry), body(spec.body).tubes, height):
            pass
        segments[index] = numbers[section[1::2, 1::2]]
        hu[index] = _hounsfield(spec, section, index)
    segments.flags.writeable = False
    return Phantom(spec, Volume(hu, geometry), segments)


def known_answers(spec: PhantomSpec = DEFAULT_PHANTOM) -> tuple[KnownStructure, ...]:
    """Answers that should be found in a scan, without rendering it."""
    thickness = spec.slice_thicknesses_mm
    return known_structures(spec.body, spec.lower_mm, spec.lower_mm + float(thickness.sum()))


def phantom_labels(
    spec: BodySpec = REFERENCE_BODY,
    spacing_mm: float = 2.0,
    *,
    lower_mm: float = -38.0,
    upper_mm: float = 595.0,
) -> NDArray[np.uint8]:
    """A body's label map on an isotropic grid, `[slice, row, column]` in the patient frame.

    Values: 0 air; 1 to 22 the structures (both sides alike); from 101 on the neighbours, by
    the codes of `inference.phantom.tissues` (101 patella, 102 tibia, ... 110 skin, 111 fat,
    116 vessel, 120 bladder, 122 bowel, 123 bowel gas, 124 trabecular bone of neighbours).
    The grid spans the body's skin with a small margin of air.
    """
    tubes = body(spec).tubes
    heights = np.arange(lower_mm + spacing_mm / 2, upper_mm, spacing_mm)
    plane = _bounding_plane(spec, spacing_mm)
    labels = np.zeros((len(heights), plane.rows, plane.columns), np.uint8)
    for section, height in zip(labels, heights, strict=True):
        for _ in paint(section, plane, tubes, height):
            pass
    return label_table()[labels]


def _bounding_plane(spec: BodySpec, pitch_mm: float) -> Plane:
    points = _skin_points_mm(spec)
    low, high = points.min(axis=0) - 2 * pitch_mm, points.max(axis=0) + 2 * pitch_mm
    columns, rows = np.ceil((high - low) / pitch_mm).astype(int) + 1
    return Plane(float(low[0]), float(low[1]), pitch_mm, int(rows), int(columns))


def _skin_points_mm(spec: BodySpec) -> NDArray[np.float64]:
    """(points, 2) x and y of the skin's outlines."""
    skin = [t for t in body(spec).tubes if t.code & ~LEFT == BY_NAME["skin"].code]
    outlines = [t.polygon_mm(z) for t in skin for z in t.heights_mm[:-1]]
    return np.concatenate([points for points in outlines if points is not None])


def _fine_plane(geometry: Geometry) -> Plane:
    """Sample points half a pixel apart; those at odd indices are the voxels' centres."""
    pitch = geometry.spacing_mm[0] / 2
    x, y, _ = geometry.positions_mm[0]
    return Plane(x - pitch, y - pitch, pitch, 2 * geometry.rows + 1, 2 * geometry.columns + 1)


def _table_section(spec: PhantomSpec) -> NDArray[np.uint8]:
    """The couch at the body: a thin shell around foam, slightly hollow; else air."""
    plane = _fine_plane(spec.geometry())
    section = np.zeros((plane.rows, plane.columns), np.uint8)
    if spec.table is Table.NONE:
        return section
    x = plane.x_mm + plane.pitch_mm * np.arange(plane.columns)
    y = plane.y_mm + plane.pitch_mm * np.arange(plane.rows)[:, None]
    front_mm, back_mm = _skin_depths_mm(spec.body)
    below = y - back_mm if spec.table is Table.BEHIND else front_mm - y
    depth = below - 2.0 + x**2 / 3000
    beside = np.abs(x) - 210.0
    section[(depth > 0) & (depth < 45) & (beside < 0)] = BY_NAME["table shell"].code
    foam = (depth > 2.5) & (depth < 42.5) & (beside < -2.5)
    section[foam] = BY_NAME["table foam"].code
    return section


def _skin_depths_mm(spec: BodySpec) -> tuple[float, float]:
    """The y of the body's foremost and rearmost points."""
    y = _skin_points_mm(spec)[:, 1]
    return float(y.min()), float(y.max())


def _hounsfield(spec: PhantomSpec, section: NDArray[np.uint8], index: int) -> NDArray[np.int16]:
    image = _sampled(_attenuations(spec)[section], blurred=spec.partial_volume)
    image = image + _streaks(section[1::2, 1::2]) + _noise(spec, index)
    return np.asarray(np.clip(np.rint(image), -1024, spec.maximum_hu).astype(np.int16))


def _attenuations(spec: PhantomSpec) -> NDArray[np.float32]:
    """(256,) HU of every painted code, with contrast agent where there is any."""
    table = hu_table()
    for name in _ENHANCED:
        code = BY_NAME[name].code
        table[[code, code | LEFT]] += np.float32(spec.contrast_hu)
    return table


_ENHANCED: Final = ("vessel", "bladder")


def _sampled(fine: NDArray[np.float32], *, blurred: bool) -> NDArray[np.float32]:
    """Values at the voxels' centres, or their mean weighted 1 2 1 over the points around."""
    if not blurred:
        return fine[1::2, 1::2]
    rows = (fine[0:-2:2] + 2 * fine[1::2] + fine[2::2]) / 4
    return np.asarray((rows[:, 0:-2:2] + 2 * rows[:, 1::2] + rows[:, 2::2]) / 4, np.float32)


_KERNEL: Final = np.array([0.25, 0.5, 0.25], dtype=np.float32)


def _noise(spec: PhantomSpec, index: int) -> NDArray[np.float32]:
    """Noise with the short-ranged correlation of a soft kernel; every slice has its own."""
    rng = np.random.default_rng([spec.seed, index])
    white = rng.standard_normal((spec.rows, spec.columns), dtype=np.float32)
    smooth = ndimage.convolve1d(white, _KERNEL, axis=0, mode="wrap")
    smooth = ndimage.convolve1d(smooth, _KERNEL, axis=1, mode="wrap")
    return np.asarray(smooth * np.float32(spec.noise_hu / (_KERNEL**2).sum()))


def _streaks(codes: NDArray[np.uint8]) -> NDArray[np.float32] | np.float32:
    """Dark and bright rays around the metal of each side; 0 where there is none."""
    sides = [codes == BY_NAME["metal"].code | side for side in (0, LEFT)]
    rays = [_rays(metal) for metal in sides if metal.any()]
    if not rays:
        return np.float32(0)
    return np.asarray(np.where(sides[0] | sides[1], 0, sum(rays)), dtype=np.float32)


def _rays(metal: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Rays from the middle of the metal, fading with distance."""
    rows, columns = np.nonzero(metal)
    y = np.arange(metal.shape[0], dtype=np.float32)[:, None] - rows.mean(dtype=np.float32)
    x = np.arange(metal.shape[1], dtype=np.float32) - columns.mean(dtype=np.float32)
    size = np.sqrt(np.float32(metal.sum()) / np.pi)
    angle, distance = np.arctan2(y, x), np.hypot(x, y)
    rays = 0.6 * np.cos(2 * angle) + 0.5 * np.cos(14 * angle) + 0.4 * np.cos(34 * angle + 1)
    reach = 350 * np.exp(-np.clip(distance - size, 0, None) / (4 * size))
    return np.asarray(rays * reach)
