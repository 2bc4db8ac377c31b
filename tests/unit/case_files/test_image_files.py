"""Image files in any orientation, and results written back onto their grids."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from support.ct import ct_stack, field_hu, save

from dicom_node.case_files.image_files import is_image_file, read_image_file, series_layout
from dicom_node.errors import GeometryError, NotAxialError, PixelDataError, TooFewSlicesError
from dicom_node.series.reading import read_series
from inference.geometry import Geometry

ORIENTATIONS = [
    (order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)
]


def image_of(
    directions: np.ndarray, shape: tuple[int, int, int] = (5, 6, 7)
) -> SimpleITK.Image:
    """An image whose HU tell where its voxels lie; rows of `directions` are i, j, k.

    `shape` is k, j, i; voxels are 1 x 2 x 3 mm along i, j, k.
    """
    spacing, origin = np.array([1.0, 2.0, 3.0]), np.array([10.0, -20.0, 30.0])
    index = np.stack(np.meshgrid(*map(np.arange, shape[::-1]), indexing="ij"), axis=-1)
    points = origin + (index * spacing) @ directions
    hu = np.round(field_hu(points) * 100) - 20000
    image = SimpleITK.GetImageFromArray(hu.transpose(2, 1, 0).astype(np.float32))
    image.SetOrigin(origin.tolist())
    image.SetSpacing(spacing.tolist())
    image.SetDirection(directions.T.ravel().tolist())
    return image


def write(image: SimpleITK.Image, path: Path) -> Path:
    SimpleITK.WriteImage(image, str(path))
    return path


def hu_at_its_points(geometry: Geometry) -> np.ndarray:
    index = np.argwhere(np.ones(geometry.shape, dtype=bool)).astype(float)
    return (np.round(field_hu(geometry.to_patient_mm(index)) * 100) - 20000).reshape(
        geometry.shape
    )


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_every_orientation_comes_into_the_patient_frame_and_back(
    order: tuple[int, int, int], signs: tuple[int, int, int], tmp_path: Path
):
    directions = np.eye(3)[list(order)] * np.array(signs)[:, None]
    source = image_of(directions)
    if np.linalg.det(directions) < 0:
        path = write(source, tmp_path / "scan.mha")  # left-handed axes
    else:
        path = write(source, tmp_path / "scan.nii.gz")
    scan = read_image_file(path)
    geometry = scan.volume.geometry

    assert (geometry.row_axis[1], geometry.column_axis[0], geometry.normal[2]) == pytest.approx(
        (1, 1, 1)
    )
    assert scan.volume.hu == pytest.approx(hu_at_its_points(geometry), abs=1.01)

    scan.layout.write(tmp_path / "back.nii.gz", scan.volume.hu)
    back = SimpleITK.ReadImage(str(tmp_path / "back.nii.gz"))
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(back), SimpleITK.GetArrayFromImage(source)
    )
    assert back.GetOrigin() == pytest.approx(source.GetOrigin())
    assert back.GetDirection() == pytest.approx(source.GetDirection())


def test_a_slightly_oblique_file_keeps_its_own_axes(tmp_path: Path):
    """Turned by 10 degrees about the patient's long axis."""
    turn = np.deg2rad(10)
    directions = np.array(
        [[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    scan = read_image_file(write(image_of(directions), tmp_path / "scan.nii"))

    assert scan.volume.geometry.column_axis == pytest.approx(directions[0])
    assert scan.volume.hu == pytest.approx(hu_at_its_points(scan.volume.geometry), abs=1.01)


def test_a_strongly_oblique_file_is_refused_with_its_angle(tmp_path: Path):
    turn = np.deg2rad(30)
    directions = np.array(
        [[1, 0, 0], [0, np.cos(turn), np.sin(turn)], [0, -np.sin(turn), np.cos(turn)]]
    )
    path = write(image_of(directions), tmp_path / "scan.mha")

    with pytest.raises(NotAxialError, match="30 degrees"):
        read_image_file(path)


def test_whole_numbers_stay_int16_and_nan_becomes_air(tmp_path: Path):
    whole = SimpleITK.Cast(image_of(np.eye(3)), SimpleITK.sitkInt32)
    values = np.full((4, 4, 4), np.nan, dtype=np.float32)
    values[0] = 40.5

    assert read_image_file(write(whole, tmp_path / "a.mha")).volume.hu.dtype == np.int16
    broken = SimpleITK.GetImageFromArray(values)
    assert read_image_file(write(broken, tmp_path / "b.mha")).volume.hu.min() == -1000


def test_values_that_are_no_hounsfield_units_are_refused(tmp_path: Path):
    image = SimpleITK.GetImageFromArray(np.ones((5, 5, 5), dtype=np.uint8))

    with pytest.raises(PixelDataError, match="the lowest is 1"):
        read_image_file(write(image, tmp_path / "labels.nii.gz"))


@pytest.mark.parametrize(("least", "most"), [(-1.0, 1.0), (-0.6, 5.2), (-20.0, 255.0)], ids=str)
def test_grey_values_of_some_other_scale_are_refused(
    least: float, most: float, tmp_path: Path
) -> None:
    """As networks are fed: stretched to -1 to 1, or by mean and deviation. No fat, no air."""
    ramp = np.linspace(least, most, 125, dtype=np.float32).reshape(5, 5, 5)

    with pytest.raises(PixelDataError, match="no Hounsfield units"):
        read_image_file(write(SimpleITK.GetImageFromArray(ramp), tmp_path / "scaled.nii.gz"))


def test_what_is_no_volume_is_refused(tmp_path: Path):
    flat = SimpleITK.GetImageFromArray(np.full((2, 5, 5), -5, dtype=np.int16))
    colour = SimpleITK.GetImageFromArray(np.zeros((5, 5, 5, 3), dtype=np.uint8), isVector=True)
    (tmp_path / "broken.nii.gz").write_bytes(b"nothing")

    with pytest.raises(TooFewSlicesError, match="2 slice"):
        read_image_file(write(flat, tmp_path / "flat.mha"))
    with pytest.raises(GeometryError, match=r"3 value\(s\) per voxel"):
        read_image_file(write(colour, tmp_path / "colour.mha"))
    with pytest.raises(PixelDataError):
        read_image_file(tmp_path / "broken.nii.gz")


def test_image_files_are_known_by_name(tmp_path: Path):
    for name in ("a.nii", "b.NII.GZ", "c.mha", "d.mhd", "e.dcm"):
        (tmp_path / name).touch()

    found = [path.name for path in sorted(tmp_path.iterdir()) if is_image_file(path)]
    assert found == ["a.nii", "b.NII.GZ", "c.mha", "d.mhd"]


@pytest.mark.parametrize(
    "orientation",
    [
        (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),  # on the back
        (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0),  # on the belly
        (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0),  # feet first: the normal points to the feet
        (0.0, 1.0, 0.0, -1.0, 0.0, 0.0),  # on the side
    ],
)
def test_results_of_a_series_lie_where_other_readers_load_the_series(
    orientation: tuple[float, ...], tmp_path: Path
):
    paths = save(ct_stack(orientation=orientation, SliceThickness=2.0), tmp_path / "series")
    series = read_series(paths)
    series_layout(series).write(tmp_path / "hu.nii.gz", series.volume.hu)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "series")))
    expected, found = reader.Execute(), SimpleITK.ReadImage(str(tmp_path / "hu.nii.gz"))

    assert found.GetSize() == expected.GetSize()
    assert found.GetOrigin() == pytest.approx(expected.GetOrigin())
    assert found.GetSpacing() == pytest.approx(expected.GetSpacing())
    assert found.GetDirection() == pytest.approx(expected.GetDirection())
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(found), SimpleITK.GetArrayFromImage(expected)
    )


def test_unevenly_spaced_slices_are_repeated_on_the_finest_step_and_said_so(tmp_path: Path):
    """Slices of 1 mm at 0, 1, 2 and of 3 mm at 4 and 7 mm, on steps of 1 mm.

    Each is shown as often as millimetres go into its extent: a volume is that of the series.
    """
    stack = ct_stack((0.0, 1.0, 2.0, 4.0, 7.0))
    for dataset in stack[3:]:
        dataset.SliceThickness = 3.0
    layout = series_layout(read_series(save(stack, tmp_path / "series")))

    assert layout.spacing_mm[2] == pytest.approx(1.0)
    assert layout.shown is not None
    assert layout.shown.tolist() == [0, 1, 2, 3, 3, 3, 4, 4, 4]
