"""What an image file states of its sides, sizes and values: believed, or refused by name.

Files are written byte by byte (`support.image_files`); where ITK reads a form too, both must
say the same.
"""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from functools import partial
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from support.ct import field_hu
from support.image_files import (
    ORIGIN_MM,
    SHAPE,
    SPACING_MM,
    TO_RAS,
    meta_image,
    nifti,
    nifti_2,
    nifti_fields,
    nifti_header,
    nifti_pair,
    nrrd,
    voxels_at,
)

from dicom_node.case_files.image_files import files_of, is_image_file, read_image_file
from dicom_node.errors import SeriesError

AXES = np.eye(3)
TURNS = [
    np.eye(3)[list(order)] * np.array(signs)[:, None]
    for order in permutations(range(3))
    for signs in product((1.0, -1.0), repeat=3)
]
Writer = Callable[[Path, NDArray[np.float64]], Path]

FORMS: dict[str, Writer] = {
    "both.nii": nifti,
    "packed.nii.gz": nifti,
    "qform.nii": partial(nifti, sform_code=0, srow=[0] * 12),
    "sform.nii": partial(nifti, qform_code=0, quatern=(0, 0, 0), qoffset=(0, 0, 0)),
    "big.nii": partial(nifti, order=">"),
    "four.nii": partial(nifti, dim=(*SHAPE[::-1], 1)),
    "two.nii": nifti_2,
    "two-big.nii": partial(nifti_2, order=">"),
    "pair.hdr": nifti_pair,
    "plain.mha": meta_image,
    "packed.mha": partial(meta_image, packed=True),
    "big.mha": partial(meta_image, order=">"),
    "apart.mhd": meta_image,
    "at-the-end.mha": partial(meta_image, HeaderSize=-1),
    "size.mha": partial(meta_image, ElementSpacing=None, ElementSize="1 2 3"),
    "posterior.nrrd": nrrd,
    "ras.nrrd": partial(nrrd, space="RAS"),
    "anterior.nrrd": partial(nrrd, space="left-anterior-superior"),
    "gzip.nrrd": partial(nrrd, encoding="gzip"),
    "bzip2.nrrd": partial(nrrd, encoding="bzip2"),
    "apart.nhdr": nrrd,
}
NOT_ITK = {"bzip2.nrrd", "two.nii", "two-big.nii", "four.nii"}


@pytest.mark.parametrize("name", FORMS)
def test_left_is_left_in_every_form_and_every_order_of_axes(name: str, tmp_path: Path):
    """Each voxel's value tells where in the patient it lies, in 48 orders of axes."""
    for number, directions in enumerate(TURNS):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = FORMS[name](folder / name, directions)
        scan = read_image_file(path)
        geometry = scan.volume.geometry
        index = np.argwhere(np.ones(geometry.shape, dtype=bool)).astype(float)
        expected = field_hu(geometry.to_patient_mm(index)).reshape(geometry.shape) - 1000

        assert geometry.column_axis == pytest.approx([1, 0, 0], abs=1e-6)
        assert geometry.normal == pytest.approx([0, 0, 1], abs=1e-6)
        np.testing.assert_allclose(scan.volume.hu, expected, atol=1e-3)
        if name not in NOT_ITK and np.linalg.det(directions) > 0:
            image = SimpleITK.ReadImage(str(path))
            assert image.GetDirection() == pytest.approx(
                scan.layout.directions.T.ravel(), abs=1e-6
            )
            assert image.GetOrigin() == pytest.approx(scan.layout.origin_mm)
            assert image.GetSpacing() == pytest.approx(scan.layout.spacing_mm)


@pytest.mark.parametrize("name", FORMS)
def test_results_lie_on_the_very_grid_of_every_form(name: str, tmp_path: Path):
    """ITK finds the written labels where it finds the input, voxel by voxel."""
    turned = TURNS[9] if np.linalg.det(TURNS[9]) > 0 else TURNS[8]
    path = FORMS[name](tmp_path / name, turned)
    scan = read_image_file(path)
    scan.layout.write(tmp_path / "back.nii.gz", scan.volume.hu)
    back = SimpleITK.ReadImage(str(tmp_path / "back.nii.gz"))

    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(back), voxels_at(turned))
    assert back.GetOrigin() == pytest.approx(scan.layout.origin_mm)
    assert back.GetSpacing() == pytest.approx(scan.layout.spacing_mm)
    assert back.GetDirection() == pytest.approx(scan.layout.directions.T.ravel(), abs=1e-6)


@pytest.mark.parametrize("codes", [(1, 0), (0, 2), (2, 1), (1, 1)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_results_of_a_nifti_file_repeat_its_whole_statement(
    codes: tuple[int, int], order: str, tmp_path: Path
):
    """Both forms, their codes and the unit, bit by bit: also what this program did not use."""
    stated = {"qform_code": codes[0], "sform_code": codes[1]}
    path = nifti(tmp_path / "scan.nii", TURNS[5], order=order, **stated)
    scan = read_image_file(path)
    scan.layout.write(tmp_path / "back.nii", scan.volume.hu)
    back = (tmp_path / "back.nii").read_bytes()
    expected = nifti_header(nifti_fields(TURNS[5]) | stated)

    assert back[76:92] == expected[76:92]
    assert back[123] == expected[123]
    assert back[252:328] == expected[252:328]


def test_codes_that_only_nifti_2_can_hold_are_written_as_near_as_can_be(tmp_path: Path):
    """NIfTI-1 has 16 bits for a code: one that says nothing goes on saying nothing."""
    path = nifti_2(tmp_path / "scan.nii", AXES)
    content = bytearray(path.read_bytes())
    content[344:352] = np.array([-16_777_215, 70_000], dtype="<i4").tobytes()
    path.write_bytes(content)
    scan = read_image_file(path)
    scan.layout.write(tmp_path / "back.nii", scan.volume.hu)
    codes = np.frombuffer((tmp_path / "back.nii").read_bytes()[252:256], dtype="<i2")

    assert codes.tolist() == [-32768, 32767]


@pytest.mark.parametrize(("unit", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (10, 1)])
def test_lengths_are_in_the_unit_that_the_file_states(unit: int, factor: float, tmp_path: Path):
    fields = nifti_fields(AXES)
    lengths = {
        "pixdim": (
            fields["pixdim"][0],
            *(np.array(fields["pixdim"][1:4]) / factor),
            0,
            0,
            0,
            0,
        ),
        "qoffset": fields["qoffset"] / factor,
        "srow": fields["srow"] / factor,
    }
    path = nifti(tmp_path / "scan.nii", AXES, xyzt_units=unit, **lengths)
    scan = read_image_file(path)

    assert scan.layout.spacing_mm == pytest.approx((1, 2, 3))
    assert scan.layout.origin_mm == pytest.approx((10, -20, 30))
    assert bool(scan.notes) == (unit == 0)


def turned_about_x(degrees: float, *, sheared: bool) -> NDArray[np.float64]:
    turn = np.deg2rad(degrees)
    tilted = np.array(
        [[1, 0, 0], [0, np.cos(turn), np.sin(turn)], [0, -np.sin(turn), np.cos(turn)]]
    )
    if sheared:
        tilted[2] = [0, 0, 1]
    return tilted


def srow(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    steps = (directions * TO_RAS).T * SPACING_MM
    return np.column_stack([steps, np.array(ORIGIN_MM) * TO_RAS]).ravel()


MIRRORED = np.diag([-1.0, 1.0, 1.0])
TILTED = turned_about_x(12, sheared=True)
COLOUR = {"datatype": (128, 24)}
PIXDIM = nifti_fields(AXES)["pixdim"]
BY_QFORM = {"sform_code": 0}
BY_SFORM = {"qform_code": 0}


def pixdim(**at: float) -> tuple[float, ...]:
    changed = list(PIXDIM)
    for name, value in at.items():
        changed["_ijk".index(name)] = value
    return tuple(changed)


REFUSED: list[tuple[str, str, str, str, dict[str, Any]]] = [
    # what is wrong, format, code, words, what the file states
    ("no codes", "nii", "unstated-sides", "codes are 0", {"qform_code": 0, "sform_code": 0}),
    ("codes below 0", "nii", "unstated-sides", "codes", {"qform_code": -1, "sform_code": -1}),
    ("no quaternion", "nii", "unstated-sides", "qform", {"quatern": (1, 1, 0), **BY_QFORM}),
    (
        "NaN quaternion",
        "nii",
        "unstated-sides",
        "qform",
        {"quatern": (np.nan, 0, 0), **BY_QFORM},
    ),
    ("an empty sform", "nii", "unstated-sides", "direction", {"srow": [0] * 12, **BY_SFORM}),
    (
        "NaN in the sform",
        "nii",
        "unstated-sides",
        "direction",
        {"srow": [np.nan] * 12, **BY_SFORM},
    ),
    ("mirrored sform", "nii", "contradictory-geometry", "contradict", {"srow": srow(MIRRORED)}),
    (
        "sheared sform beside a qform",
        "nii",
        "gantry-tilt",
        "12.0 degrees",
        {"srow": srow(TILTED)},
    ),
    ("sheared sform", "nii", "gantry-tilt", "12.0 degrees", {"srow": srow(TILTED), **BY_SFORM}),
    ("qform elsewhere", "nii", "contradictory-geometry", "5.0 mm", {"qoffset": (-15, 20, 30)}),
    ("template", "nii", "geometry", "template", {"qform_code": 0, "sform_code": 4}),
    ("negative voxel", "nii", "contradictory-geometry", "negative", {"pixdim": pixdim(i=-1)}),
    ("no voxel size", "nii", "geometry", "how large", {"pixdim": pixdim(j=0), **BY_QFORM}),
    (
        "sizes differ",
        "nii",
        "contradictory-geometry",
        "pixdim",
        {"pixdim": pixdim(k=1), **BY_SFORM},
    ),
    (
        "no sizes",
        "nii",
        "contradictory-geometry",
        "pixdim",
        {"pixdim": pixdim(k=0), **BY_SFORM},
    ),
    ("metres that are not", "nii", "geometry", "absurd", {"xyzt_units": 1}),
    ("a unit that is none", "nii", "geometry", "unit", {"xyzt_units": 5}),
    ("colours", "nii", "geometry", "grey", COLOUR),
    ("bits", "nii", "pixel-data", "16 bits", {"datatype": (4, 8)}),
    ("two volumes", "nii", "geometry", "7 x 6 x 5 x 2", {"dim": (7, 6, 5, 2)}),
    ("a flat image", "nii", "geometry", "one three-dimensional", {"dim": (7, 6)}),
    (
        "an intercept alone",
        "nii",
        "pixel-data",
        "disagree",
        {"scl_slope": 0, "scl_inter": -1024},
    ),
    ("endless slope", "nii", "pixel-data", "disagree", {"scl_slope": np.inf}),
    ("NaN slope", "nii", "pixel-data", "disagree", {"scl_slope": np.nan, "scl_inter": -1024}),
    ("too early", "nii", "pixel-data", "vox_offset", {"vox_offset": 20}),
    ("too late", "nii", "pixel-data", "break off", {"vox_offset": 400}),
    ("no matrix", "mha", "unstated-sides", "TransformMatrix", {"TransformMatrix": None}),
    (
        "letters alone",
        *("mha", "unstated-sides", "TransformMatrix"),
        {"TransformMatrix": None, "AnatomicalOrientation": "RAI"},
    ),
    (
        "letters that contradict",
        *("mha", "contradictory-geometry", "LPI"),
        {"AnatomicalOrientation": "LPI"},
    ),
    (
        "two matrices",
        *("mha", "contradictory-geometry", "twice"),
        {"Rotation": "-1 0 0 0 -1 0 0 0 1"},
    ),
    (
        "an empty matrix",
        "mha",
        "unstated-sides",
        "direction",
        {"TransformMatrix": "0 0 0 0 0 0 0 0 0"},
    ),
    ("a short matrix", "mha", "pixel-data", "9 number", {"TransformMatrix": "1 0 0 0"}),
    (
        "a stretching matrix",
        "mha",
        "geometry",
        "rotation",
        {"TransformMatrix": "2 0 0 0 2 0 0 0 1"},
    ),
    (
        "a sheared matrix",
        *("mha", "gantry-tilt", "sheared"),
        {"TransformMatrix": "1 0 0 0 1 0 0 0.2 0.98"},
    ),
    ("no spacing", "mha", "geometry", "ElementSpacing", {"ElementSpacing": None}),
    (
        "a negative spacing",
        "mha",
        "contradictory-geometry",
        "negative",
        {"ElementSpacing": "-1 2 3"},
    ),
    ("centimetres", "mha", "geometry", "DistanceUnits", {"DistanceUnits": "cm"}),
    ("uneven", "mha", "uneven-slices", "DICOM", {"ITK_non_uniform_sampling_deviation": 3.008}),
    ("a slope", "mha", "pixel-data", "Slope", {"ElementToIntensityFunctionSlope": 2}),
    ("vectors", "mha", "geometry", r"3 value\(s\) per voxel", {"ElementNumberOfChannels": 3}),
    ("four dimensions", "mha", "geometry", "4 dimensions", {"NDims": 4}),
    ("text", "mha", "pixel-data", "text", {"BinaryData": "False"}),
    ("a list", "mha", "pixel-data", "several files", {"ElementDataFile": "LIST"}),
    ("a pattern", "mha", "pixel-data", "several files", {"ElementDataFile": "a%03d.raw 1 5 1"}),
    ("outside", "mha", "pixel-data", "outside", {"ElementDataFile": "../scan.raw"}),
    ("far outside", "mha", "pixel-data", "outside", {"ElementDataFile": "/etc/passwd"}),
    ("none there", "mha", "pixel-data", "not there", {"ElementDataFile": "other.raw"}),
    ("a folder", "mha", "pixel-data", "outside", {"ElementDataFile": "."}),
    ("strings", "mha", "geometry", "ElementType", {"ElementType": "MET_STRING"}),
    ("no space", "nrrd", "unstated-sides", "space", {"space": None}),
    (
        "a space of no patient",
        "nrrd",
        "unstated-sides",
        "none of the patient",
        {"space": "scanner-xyz"},
    ),
    (
        "a space without a name",
        *("nrrd", "unstated-sides", "space"),
        {"space": None, "space_dimension": 3},
    ),
    (
        "no directions",
        *("nrrd", "unstated-sides", "direction"),
        {"space_directions": None, "spacings": "1 2 3"},
    ),
    ("two sizes", "nrrd", "contradictory-geometry", "spacings", {"spacings": "1 2 3"}),
    (
        "sheared",
        *("nrrd", "gantry-tilt", "sheared"),
        {"space_directions": "(1,0,0) (0,2,0) (0,1,3)"},
    ),
    ("centimetres", "nrrd", "geometry", "units", {"space_units": '"cm" "cm" "cm"'}),
    (
        "uneven",
        *("nrrd", "uneven-slices", "DICOM"),
        {"keys": "ITK_non_uniform_sampling_deviation:=10.5\n"},
    ),
    ("colours", "nrrd", "geometry", "grey", {"kinds": "RGB-color domain domain"}),
    ("text", "nrrd", "pixel-data", "encoding", {"encoding": "ascii"}),
    ("hex", "nrrd", "pixel-data", "encoding", {"encoding": "hex"}),
    ("a list", "nrrd", "pixel-data", "several files", {"data_file": "LIST"}),
    ("outside", "nrrd", "pixel-data", "outside", {"data_file": "../scan.raw"}),
    ("no byte order", "nrrd", "pixel-data", "endian", {"endian": None}),
    ("lines", "nrrd", "pixel-data", "lines", {"line_skip": 2}),
    ("packed otherwise", "nrrd", "pixel-data", "damaged", {"encoding": "gz"}),
    ("blocks", "nrrd", "geometry", "by its type", {"type": "block"}),
    ("too large", "nrrd", "too-large", "voxels", {"sizes": "30000 30000 30000"}),
    ("sizes below 1", "nrrd", "geometry", "none", {"sizes": "-7 6 5"}),
]


@pytest.mark.parametrize(
    ("suffix", "code", "words", "stated"),
    [case[1:] for case in REFUSED],
    ids=[f"{case[1]}: {case[0]}" for case in REFUSED],
)
def test_a_file_that_leaves_a_question_is_refused_by_its_name(
    suffix: str, code: str, words: str, stated: dict[str, Any], tmp_path: Path
):
    writers: dict[str, Callable[..., Path]] = {"nii": nifti, "mha": meta_image, "nrrd": nrrd}
    path = writers[suffix](tmp_path / f"scan.{suffix}", AXES, **stated)

    with pytest.raises(SeriesError, match=words) as refused:
        read_image_file(path)
    assert refused.value.code == code


TAKEN: list[tuple[str, str, dict[str, Any]]] = [
    ("qform rounded", "nii", {"qoffset": (-10.0004, 20.0, 30.0)}),
    ("slope 0", "nii", {"scl_slope": 0}),
    ("slope NaN", "nii", {"scl_slope": np.nan, "scl_inter": np.nan}),
    ("template code, scanner's place", "nii", {"sform_code": 4}),
    ("letters that agree", "mha", {"AnatomicalOrientation": "RAI"}),
    ("letters of where to", "mha", {"AnatomicalOrientation": "LPS"}),
    ("no letters", "mha", {"AnatomicalOrientation": "???"}),
    ("no place", "mha", {"Offset": None}),
    ("millimetres", "mha", {"DistanceUnits": "mm"}),
    ("positions rounded", "mha", {"ITK_non_uniform_sampling_deviation": 0.01}),
    ("thickness beside the spacing", "mha", {"ElementSize": "1 2 5"}),
    ("other words", "mha", {"Modality": "MET_MOD_CT", "ITK_InputFilterName": "a = b"}),
    ("other names", "mha", {"Origin": "0 0 0", "Offset": None}),
    ("units", "nrrd", {"space_units": '"mm" "mm" "mm"'}),
    ("no place", "nrrd", {"space_origin": None}),
    ("positions rounded", "nrrd", {"keys": "ITK_non_uniform_sampling_deviation:=0.01\n"}),
    ("anybody's key", "nrrd", {"keys": "sizes:=1 1 1\n"}),
    (
        "four dimensions, one volume",
        "nrrd",
        {
            "dimension": 4,
            "sizes": "1 7 6 5",
            "kinds": "list domain domain domain",
            "space_directions": "none (1,0,0) (0,2,0) (0,0,3)",
        },
    ),
]


@pytest.mark.parametrize(
    ("suffix", "stated"), [case[1:] for case in TAKEN], ids=[f"{c[1]}: {c[0]}" for c in TAKEN]
)
def test_a_file_that_states_its_place_in_unusual_words_is_read(
    suffix: str, stated: dict[str, Any], tmp_path: Path
):
    writers: dict[str, Callable[..., Path]] = {"nii": nifti, "mha": meta_image, "nrrd": nrrd}
    scan = read_image_file(writers[suffix](tmp_path / f"scan.{suffix}", AXES, **stated))

    np.testing.assert_array_equal(scan.volume.hu, voxels_at(AXES))
    assert scan.layout.spacing_mm == pytest.approx((1, 2, 3))


def test_an_analyze_file_is_refused_by_its_name(tmp_path: Path):
    """It has no forms: which side is right was never agreed upon."""
    path = nifti_pair(tmp_path / "scan.hdr", AXES)
    path.write_bytes(path.read_bytes()[:344] + bytes(4))

    with pytest.raises(SeriesError, match="ANALYZE") as refused:
        read_image_file(path)
    assert refused.value.code == "unstated-sides"


def test_a_pair_is_read_by_either_of_its_names(tmp_path: Path):
    nifti_pair(tmp_path / "scan.hdr", AXES)
    (tmp_path / "other.img").touch()

    assert is_image_file(tmp_path / "scan.img")
    np.testing.assert_array_equal(
        read_image_file(tmp_path / "scan.img").volume.hu, voxels_at(AXES)
    )
    assert not is_image_file(tmp_path / "other.img")  # may be DICOM, under an old name


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("s.nii", "s_Eq_1.nii"),
        ("s.nii.gz", "s_Eq_1.nii.gz"),
        ("s_Eq_1.nii.gz", "s.nii.gz"),
    ],
)
def test_what_dcm2niix_makes_of_uneven_slices_is_refused(
    name: str, beside: str, tmp_path: Path
):
    """Its first file has one step for all slices, its second is interpolated."""
    nifti(tmp_path / beside, AXES)
    path = nifti(tmp_path / name, AXES)

    with pytest.raises(SeriesError, match="must come as DICOM") as refused:
        read_image_file(path)
    assert refused.value.code == "uneven-slices"


def body(dtype: str = "i2", lift: int = 0) -> NDArray[Any]:
    """Air around fat around muscle with a bone in it, lifted by as much."""
    hu = np.full((6, 20, 20), -1000)
    hu[:, 4:16, 4:16] = -100
    hu[:, 6:14, 6:14] = 50
    hu[:, 9:11, 9:11] = 1200
    return (hu + lift).astype(dtype)


def without_outside(voxels: NDArray[Any], value: float) -> NDArray[Any]:
    padded = voxels.astype(np.float32)
    padded[:, :2] = value
    return padded


@pytest.mark.parametrize(
    "voxels",
    [
        np.clip(body(lift=1024), 0, 4095).astype("u2"),
        body(lift=1000),
        body("f4", lift=1024),
        without_outside(body(lift=1024), -1024),
        without_outside(body(lift=1024), np.nan),
        without_outside(body(lift=1024), -3.5),
    ],
    ids=["unsigned", "signed", "float", "padded", "NaN outside", "undershoot"],
)
def test_a_lost_rescale_is_named(voxels: NDArray[Any], tmp_path: Path):
    """Values as a scanner stores them, air at 0 and not -1000, also where padding hides it."""
    path = meta_image(tmp_path / "scan.mha", AXES, voxels)

    with pytest.raises(SeriesError, match="lost its rescale") as refused:
        read_image_file(path)
    assert refused.value.code == "lost-rescale"


def test_a_rescale_in_the_header_is_applied(tmp_path: Path):
    stored = body("u2", lift=1024)
    path = nifti(tmp_path / "scan.nii", AXES, stored, scl_inter=-1024)
    half = nifti(tmp_path / "half.nii", AXES, stored, scl_slope=0.5, scl_inter=-1024)

    assert read_image_file(path).volume.hu.dtype == np.int16
    np.testing.assert_array_equal(read_image_file(path).volume.hu, body())
    assert read_image_file(half).volume.hu.min() == pytest.approx(-1012)


def test_voxels_without_a_number_are_air_and_told(tmp_path: Path):
    path = nifti(tmp_path / "scan.nii", AXES, without_outside(body(), np.nan))
    scan = read_image_file(path)

    assert scan.volume.hu.min() == -1000
    assert scan.notes == ("240 voxels without a number (NaN) are taken as air",)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values_are_refused(value: float, tmp_path: Path):
    with pytest.raises(SeriesError, match="infinite"):
        read_image_file(nifti(tmp_path / "a.nii", AXES, without_outside(body(), value)))
    with pytest.raises(SeriesError, match="no voxel has a value"):
        read_image_file(nifti(tmp_path / "b.nii", AXES, np.full((5, 5, 5), np.nan, "f4")))


@pytest.mark.parametrize("name", ["scan.nii.gz", "packed.mha", "gzip.nrrd", "bzip2.nrrd"])
def test_a_header_that_claims_more_than_is_there_costs_no_memory(name: str, tmp_path: Path):
    """4 GB are claimed, a few bytes are there: refused without being set aside."""
    wide = (1000, 1000, 2000)
    path = tmp_path / name
    if name.endswith(".gz"):
        nifti(path, AXES, dim=wide)
    elif name.endswith(".mha"):
        meta_image(path, AXES, packed=True, DimSize="1000 1000 2000")
    else:
        nrrd(path, AXES, encoding=name.removesuffix(".nrrd"), sizes="1000 1000 2000")
    tracemalloc.start()
    with pytest.raises(SeriesError, match="break off"):
        read_image_file(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 16e6


def test_a_gzip_file_in_several_members_is_read(tmp_path: Path):
    """As `bgzip` writes it."""
    whole = gzip.decompress(nifti(tmp_path / "scan.nii.gz", AXES).read_bytes())
    members = [gzip.compress(whole[i : i + 100]) for i in range(0, len(whole), 100)]
    (tmp_path / "scan.nii.gz").write_bytes(b"".join(members))

    np.testing.assert_array_equal(
        read_image_file(tmp_path / "scan.nii.gz").volume.hu, voxels_at(AXES)
    )


def test_a_packed_file_with_another_checksum_is_damaged(tmp_path: Path):
    path = nifti(tmp_path / "scan.nii.gz", AXES)
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)

    with pytest.raises(SeriesError, match="damaged"):
        read_image_file(path)


@pytest.mark.parametrize("name", FORMS)
def test_a_file_that_is_cut_off_or_damaged_is_refused_or_read(name: str, tmp_path: Path):
    """Cut at every 31st byte, and 150 times three bytes changed: nothing else comes out."""
    path = FORMS[name](tmp_path / name, AXES)
    sound = path.read_bytes()
    chance = np.random.default_rng(12)
    damaged = [sound[:end] for end in range(0, len(sound), 31)]
    for _ in range(150):
        changed = bytearray(sound)
        for at in chance.integers(0, min(len(sound), 600), 3):
            changed[at] = chance.integers(256)
        damaged.append(bytes(changed))
    for content in damaged:
        path.write_bytes(content)
        try:
            volume = read_image_file(path).volume
        except SeriesError as error:
            assert len(str(error)) < 500  # noqa: PT017 - any refusal will do
        else:
            assert np.isfinite(volume.hu).all()
            assert np.isfinite(volume.geometry.positions_mm).all()


@pytest.mark.parametrize("name", FORMS)
def test_all_files_of_an_image_are_known(name: str, tmp_path: Path):
    """`evaluate` does a case again when one of them changes."""
    path = FORMS[name](tmp_path / name, AXES)

    assert set(files_of(path)) == set(tmp_path.iterdir())
    path.write_bytes(b"nothing")
    assert files_of(path)[0] == path


def test_a_data_file_may_lie_below_its_header(tmp_path: Path):
    path = meta_image(tmp_path / "scan.mhd", AXES, ElementDataFile="data/../raw/scan.bin")
    (tmp_path / "raw").mkdir()
    path.with_suffix(".raw").rename(tmp_path / "raw" / "scan.bin")

    assert read_image_file(path).volume.hu.shape == SHAPE
