"""`msk-node evaluate`: cases from disk, in every form, to a report; nothing done twice."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread
from support.bundles import untrained_bundle
from support.cases import CONTEXT, box_labels, small_case, small_series
from support.ct import AXIAL
from support.image_files import meta_image, nifti, nrrd
from typer.testing import CliRunner

from dicom_node.case_files.image_files import series_layout
from dicom_node.case_files.labelled_cases import (
    listed_cases,
    read_case,
    read_label_table,
    read_on_grid,
    write_segments,
)
from dicom_node.case_files.phantom_series import (
    PatientPosition,
    PhantomHeader,
    write_phantom_series,
)
from dicom_node.case_files.result_folder import segment_to_folder
from dicom_node.case_files.segmentation_reader import read_segmentation
from dicom_node.commands import cli, segmenters
from dicom_node.commands.evaluate import evaluate, numbers_of, request_of
from dicom_node.errors import ConfigurationError, GeometryError, NoImagesError, SeriesError
from dicom_node.results.builders import publish_case
from dicom_node.results.kinds import ResultKind
from dicom_node.series.reading import read_series
from inference.errors import LabelTableError
from inference.evaluation import report
from inference.evaluation.labels import segments_of
from inference.models.bundle import Bundle, load_bundle
from inference.phantom.body import BodySpec
from inference.phantom.render import phantom
from inference.phantom.spec import PhantomSpec, Zone
from inference.structures import BY_KEY, Side

FEET_FIRST_PRONE = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
TURNED = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0)
ZONES = (Zone(40.0, 595.0),)
UNEVEN = (Zone(20.0, 60.0), Zone(50.0, 310.0), Zone(30.0, 595.0))
HALF_WAY = (Zone(20.0, 60.0), Zone(30.0, 150.0), Zone(40.0, 310.0), Zone(20.0, 595.0))
"""Its upper slices lie half-way between those that are as far apart as the finest."""


def spec(number: int = 0, zones: tuple[Zone, ...] = ZONES) -> PhantomSpec:
    """A dozen coarse slices of another body each time."""
    return PhantomSpec(
        body=BodySpec(variation=1.0, variation_seed=number + 1),
        zones=zones,
        pixel_mm=8.0,
        rows=48,
        columns=64,
    )


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take seconds, and test_evaluation_report looks at them."""
    monkeypatch.setattr(report, "all_figures", lambda _: ())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that labels by chance."""
    return untrained_bundle(tmp_path_factory.mktemp("bundles") / "untrained")


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two phantoms as `msk-node phantom` writes them, in a folder of their own each."""
    folder = tmp_path_factory.mktemp("cases")
    for number in range(2):
        paths = write_phantom_series(folder / f"body{number}" / "series", spec(number))
        write_segments(
            folder / f"body{number}" / "labels.nii.gz",
            read_series(paths),
            phantom(spec(number)).segments,
        )
    return folder


def scores(out: Path) -> list[dict[str, str]]:
    with (out / "scores.csv").open() as file:
        return list(csv.DictReader(file))


def run(cases: Path, out: Path, bundles: list[Bundle], **options: Any) -> Path:
    request = request_of(cases, bundles=bundles, device="cpu", **options)
    return evaluate(request, out)


@pytest.mark.parametrize("zones", [ZONES, UNEVEN, HALF_WAY])
@pytest.mark.parametrize("position", PatientPosition)
def test_a_label_map_is_read_back_as_it_was_written(
    position: PatientPosition, zones: tuple[Zone, ...], tmp_path: Path
):
    """Whatever way the patient lies, and also where slices are unevenly spaced."""
    one = spec(zones=zones)
    series = read_series(
        write_phantom_series(tmp_path / "series", one, PhantomHeader(position=position))
    )
    truth = phantom(one).segments
    write_segments(tmp_path / "labels.nii.gz", series, truth)

    case = read_case(listed_cases(_listing(tmp_path, "series"))[0])

    assert np.array_equal(case.truth, truth)
    assert case.height_m == pytest.approx(one.body.height_m)


def _listing(folder: Path, image: str, labels: str = "labels.nii.gz", **more: str) -> Path:
    lines = [f'{key} = "{value}"' for key, value in more.items()]
    text = ["[[cases]]", 'name = "a"', f'image = "{image}"', f'labels = "{labels}"', *lines]
    path = folder / "cases.toml"
    path.write_text("\n".join(text))
    return path


@pytest.mark.parametrize("kind", [ResultKind.SEG, ResultKind.SEG_LABELMAP])
@pytest.mark.parametrize("orientation", [AXIAL, FEET_FIRST_PRONE, TURNED])
def test_a_dicom_segmentation_is_a_label_map_too(
    orientation: tuple[float, ...], kind: ResultKind, tmp_path: Path
):
    """Segments are known by their codes, frames by their positions; slices come turned."""
    origin = {AXIAL: (-128.0, -128.0, 0.0), FEET_FIRST_PRONE: (124.0, 124.0, 0.0)}
    series = small_series(
        tmp_path / "series",
        orientation=orientation,
        origin_mm=origin.get(orientation, (124.0, -128.0, 0.0)),
    )
    (made,) = publish_case(series, small_case(series.volume.geometry), CONTEXT, {kind})
    made.dataset.save_as(tmp_path / "labels.dcm", enforce_file_format=True)

    read = read_segmentation(tmp_path / "labels.dcm", series.volume.geometry)
    case = read_case(listed_cases(_listing(tmp_path, "series", "labels.dcm"))[0])

    assert np.array_equal(
        segments_of(read.labels, read.table, series.volume.geometry), box_labels()
    )
    assert np.array_equal(case.truth, box_labels())
    assert "coded property types" in case.table_words


def test_a_segmentation_with_other_codes_takes_a_table(tmp_path: Path):
    series = small_series(tmp_path / "series")
    case = small_case(series.volume.geometry)
    (made,) = publish_case(series, case, CONTEXT, {ResultKind.SEG})
    for item in made.dataset.SegmentSequence:
        item.SegmentedPropertyTypeCodeSequence[0].CodeValue = "4711"
    made.dataset.save_as(tmp_path / "labels.dcm", enforce_file_format=True)
    listing = _listing(tmp_path, "series", "labels.dcm")
    numbers = {
        item.SegmentNumber: item.SegmentDescription for item in made.dataset.SegmentSequence
    }
    (tmp_path / "mine.toml").write_text(
        "\n".join(f'{number} = "{key}"' for number, key in numbers.items())
    )

    with pytest.raises(LabelTableError, match="no structure is labelled"):
        read_case(listed_cases(listing)[0])
    read = read_case(listed_cases(listing, tmp_path / "mine.toml")[0])

    assert np.array_equal(read.truth, box_labels())


def test_a_segmentation_of_another_series_is_refused(tmp_path: Path):
    series = small_series(tmp_path / "series")
    beside = small_series(tmp_path / "beside", origin_mm=(-128.0, -120.0, 0.0))
    (made,) = publish_case(
        beside, small_case(beside.volume.geometry), CONTEXT, {ResultKind.SEG}
    )
    made.dataset.save_as(tmp_path / "labels.dcm", enforce_file_format=True)

    with pytest.raises(GeometryError, match=r"8\.0 mm beside"):
        read_segmentation(tmp_path / "labels.dcm", series.volume.geometry)


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd"])
def test_files_in_any_axis_order_lie_on_the_same_grid(suffix: str, tmp_path: Path):
    """The same label map, permuted and flipped by SimpleITK, is the same labels."""
    labels = np.arange(4 * 3 * 5, dtype=np.int16).reshape(4, 3, 5) % 23
    image = SimpleITK.GetImageFromArray(labels)
    image.SetSpacing((2.0, 3.0, 6.0))
    turned = SimpleITK.DICOMOrient(image, "SPR")
    SimpleITK.WriteImage(turned, str(tmp_path / f"labels{suffix}"))
    hu = SimpleITK.GetImageFromArray(labels - 1000)
    hu.CopyInformation(image)
    SimpleITK.WriteImage(hu, str(tmp_path / f"image{suffix}"))

    listing = _listing(tmp_path, f"image{suffix}", f"labels{suffix}")
    geometry = read_case(listed_cases(listing)[0]).volume.geometry

    assert np.array_equal(read_on_grid(tmp_path / f"labels{suffix}", geometry), labels)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image: image.SetOrigin((4.0, 0.0, 0.0)), "4.0 mm beside the CT"),
        (lambda image: image.SetOrigin((0.0, 0.0, 30.0)), "no slice for slice 1 of the CT"),
        (lambda image: image.SetSpacing((2.0, 2.5, 6.0)), "pixels of 2.5 x 2 mm, the CT"),
    ],
)
def test_a_label_map_beside_its_ct_is_refused(change: Any, words: str, tmp_path: Path):
    image = SimpleITK.GetImageFromArray(np.full((4, 3, 5), -1000, np.int16))
    image.SetSpacing((2.0, 3.0, 6.0))
    SimpleITK.WriteImage(image, str(tmp_path / "image.mha"))
    change(image)
    SimpleITK.WriteImage(image, str(tmp_path / "labels.mha"))

    with pytest.raises(GeometryError, match=words):
        read_case(listed_cases(_listing(tmp_path, "image.mha", "labels.mha"))[0])


def test_a_label_map_that_is_turned_about_its_corner_is_refused(tmp_path: Path):
    """Its first voxel is the CT's, its last is not."""
    image = SimpleITK.GetImageFromArray(np.full((4, 30, 50), -1000, np.int16))
    image.SetSpacing((2.0, 2.0, 6.0))
    SimpleITK.WriteImage(image, str(tmp_path / "image.mha"))
    turn = np.deg2rad(8)
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    image.SetDirection((cos, -sin, 0, sin, cos, 0, 0, 0, 1))
    SimpleITK.WriteImage(image, str(tmp_path / "labels.mha"))

    with pytest.raises(GeometryError, match="beside the CT"):
        read_case(listed_cases(_listing(tmp_path, "image.mha", "labels.mha"))[0])


@pytest.mark.parametrize(
    ("name", "stated", "code"),
    [
        ("labels.nii", {"qform_code": 0, "sform_code": 0}, "unstated-sides"),
        ("labels.nii", {"qoffset": (-15.0, 20.0, 30.0)}, "contradictory-geometry"),
        ("labels.mha", {"TransformMatrix": None}, "unstated-sides"),
        ("labels.nrrd", {"space": None}, "unstated-sides"),
    ],
)
def test_a_label_map_that_does_not_state_its_place_is_refused(
    name: str, stated: dict[str, Any], code: str, tmp_path: Path
):
    """Sides of labels would be a guess, as those of a CT."""
    axes, labels = np.eye(3), np.zeros((5, 6, 7), "i2")
    nifti(tmp_path / "image.nii", axes)
    writer = {".nii": nifti, ".mha": meta_image, ".nrrd": nrrd}[Path(name).suffix]
    writer(tmp_path / name, axes, labels, **stated)

    with pytest.raises(SeriesError) as refused:
        read_case(listed_cases(_listing(tmp_path, "image.nii", name))[0])
    assert refused.value.code == code


def test_a_csv_lists_cases_as_a_toml_does(cases: Path, tmp_path: Path):
    listing = tmp_path / "cases.csv"
    listing.write_text(
        "name,image,labels,affected_side,height_m,data_set\n"
        f"a,{cases}/body0/series,{cases}/body0/labels.nii.gz,L,1.58,north\n"
        f"b,{cases}/body1/series,{cases}/body1/labels.nii.gz,,,\n"
    )

    first, second = listed_cases(tmp_path)

    assert (first.affected, first.height_m, first.data_set) == (Side.LEFT, 1.58, "north")
    assert (second.affected, second.height_m, second.data_set) == (None, None, "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[cases]]\nname = "a"\nimage = "x"\n', "labels: Field required"),
        ('[[cases]]\nname = "a/b"\nimage = "x"\nlabels = "y"\n', "pattern"),
        ('[[cases]]\nname = "a"\nimage = "x"\nlabels = "y"\nage = 3\n', "Extra inputs"),
        ('[[cases]]\nname = "a"\nimage = "x"\nlabels = "y"\n', "x does not exist"),
        ("cases = []\n", "no case there"),
        ("cases", "cases.toml"),
    ],
)
def test_a_listing_that_cannot_be_used_is_refused_with_its_place(
    text: str, words: str, tmp_path: Path
):
    (tmp_path / "cases.toml").write_text(text)

    with pytest.raises(ConfigurationError, match=words):
        listed_cases(tmp_path)


def test_two_cases_of_one_name_are_refused(cases: Path):
    listing = cases / "twice.toml"
    one = '[[cases]]\nname = "a"\nimage = "body0/series"\nlabels = "body0/labels.nii.gz"\n'
    listing.write_text(one * 2)

    with pytest.raises(ConfigurationError, match="more than one case is called a"):
        listed_cases(listing)


def test_a_label_table_may_be_toml_or_json(tmp_path: Path):
    (tmp_path / "a.toml").write_text('[labels]\n5 = "GMED"\n')
    (tmp_path / "a.json").write_text('{"5": {"structure": "GMED", "side": "R"}}')

    assert read_label_table(tmp_path / "a.toml").meanings[5] == BY_KEY["GMED_R"].structure
    assert read_label_table(tmp_path / "a.json").meanings[5] == BY_KEY["GMED_R"]


def test_a_case_that_is_done_is_not_done_again(
    cases: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    analysed = []
    real = segmenters.analyse_sample_counts

    def counted(*args: Any, **options: Any) -> Any:
        analysed.append(options["counts"])
        return real(*args, **options)

    monkeypatch.setattr(segmenters, "analyse_sample_counts", counted)
    run(cases, tmp_path, [bundle])
    first = (tmp_path / "scores.csv").read_text()
    assert analysed == [[2], [2]]

    run(cases, tmp_path, [bundle])
    assert len(analysed) == 2
    assert (tmp_path / "scores.csv").read_text() == first

    os.utime(cases / "body0" / "labels.nii.gz")
    run(cases, tmp_path, [bundle])
    assert len(analysed) == 3

    run(cases, tmp_path, [bundle], samples=(1, 2, 3))
    assert analysed[3:] == [[1, 3], [1, 3]]


def test_numbers_of_samples_drawn_in_one_pass_score_as_each_by_itself(
    cases: Path, bundle: Bundle, tmp_path: Path
):
    run(cases, tmp_path / "together", [bundle], samples=(1, 2, 3))
    run(cases, tmp_path / "alone", [bundle], samples=(3,))

    def of_three(out: Path) -> list[dict[str, str]]:
        return [row for row in scores(out) if row["samples"] == "3"]

    together, alone = of_three(tmp_path / "together"), of_three(tmp_path / "alone")
    dice = [[float(row["dice"] or 0) for row in rows] for rows in (together, alone)]
    assert len(dice[0]) > 40
    assert dice[0] == pytest.approx(dice[1], abs=0.01)


def test_what_the_listing_says_of_a_case_may_change_without_doing_it_again(
    cases: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run(cases, tmp_path / "out", [bundle])
    listing = tmp_path / "cases.csv"
    rows = [
        f"body{k},{cases}/body{k}/series,{cases}/body{k}/labels.nii.gz,R,set{k}\n"
        for k in range(2)
    ]
    listing.write_text("".join(["name,image,labels,affected_side,data_set\n", *rows]))
    monkeypatch.setattr(segmenters, "analyse_sample_counts", None)

    run(listing, tmp_path / "out", [bundle])

    assert {row["affected_side"] for row in scores(tmp_path / "out")} == {"R"}
    assert {row["data_set"] for row in scores(tmp_path / "out")} == {"set0", "set1"}


def test_ready_results_need_no_network_and_score_the_same(
    cases: Path, bundle: Bundle, tmp_path: Path
):
    """The truth as a result of `segment`: Dice 1 everywhere, and what the report names."""
    for number in range(2):
        folder = tmp_path / "results" / f"body{number}"
        source = cases / f"body{number}" / "series"
        segment_to_folder(source, folder, bundle=bundle, device="cpu")
        series = read_series(sorted(source.iterdir()))
        truth = phantom(spec(number)).segments
        series_layout(series).write(folder / "labels.nii.gz", truth)

    run(cases, tmp_path / "out", [], results=(tmp_path / "results",))
    rows = scores(tmp_path / "out")

    assert {row["dice"] for row in rows if int(row["true_voxels"])} == {"1"}
    assert {(row["arm"], row["samples"]) for row in rows} == {("untrained 0", "2")}


def test_a_case_that_cannot_be_read_is_left_out_with_its_reason(
    cases: Path, bundle: Bundle, tmp_path: Path
):
    (tmp_path / "empty").mkdir()
    listing = tmp_path / "cases.toml"
    good = f'[[cases]]\nname = "good"\nimage = "{cases}/body0/series"\n'
    good += f'labels = "{cases}/body0/labels.nii.gz"\n'
    bad = good.replace('"good"', '"bad"').replace(f"{cases}/body0/series", "empty")
    listing.write_text(good + bad)
    heard: list[str] = []

    request = request_of(listing, bundles=[bundle], device="cpu")
    text = evaluate(request, tmp_path / "out", heard.append).read_text()

    assert "bad, untrained 0: one CT series is expected, 0 are there" in text
    assert "1 of 2 listed" in text
    assert any("left out" in line for line in heard)
    assert {row["case"] for row in scores(tmp_path / "out")} == {"good"}


def test_the_report_keeps_the_commands_that_made_it_and_its_cases(
    cases: Path, bundle: Bundle, tmp_path: Path
):
    listing = tmp_path / "cases.toml"
    one = f'[[cases]]\nname = "good"\nimage = "{cases}/body0/series"\n'
    one += f'labels = "{cases}/body0/labels.nii.gz"\n'
    listing.write_text(f'made_by = "python -m made"\n{one}')

    run(listing, tmp_path / "out", [bundle], command="msk-node evaluate cases.toml")

    facts = json.loads((tmp_path / "out" / "facts.json").read_text())
    assert facts["command"] == "msk-node evaluate cases.toml"
    assert facts["cases made by"] == "python -m made"


def test_when_no_case_is_left_the_first_reason_is_the_error(bundle: Bundle, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "labels.nii.gz").touch()

    with pytest.raises(NoImagesError, match="no case could be evaluated; the first: one CT"):
        run(_listing(tmp_path, "empty"), tmp_path / "out", [bundle])


def test_results_that_were_refused_are_left_out(cases: Path, tmp_path: Path):
    folder = tmp_path / "results" / "body0"
    folder.mkdir(parents=True)
    words = {"refused": {"code": "x", "words": "a tilted gantry"}, "case": None}
    (folder / "report.json").write_text(json.dumps(words))

    with pytest.raises(NoImagesError, match="refused when it was segmented: a tilted gantry"):
        run(cases, tmp_path / "out", [], results=(tmp_path / "results",))


def test_bundles_of_one_name_are_told_apart(cases: Path, bundle: Bundle, tmp_path: Path):
    """Both are called `untrained 0`; the second has other provenance, so another hash."""
    other = untrained_bundle(tmp_path / "other")
    text = (other.folder / "bundle.toml").read_text()
    (other.folder / "bundle.toml").write_text(text.replace("not trained", "never trained"))

    run(cases, tmp_path / "out", [bundle, load_bundle(other.folder)])

    names = {row["arm"] for row in scores(tmp_path / "out")}
    assert len(names) == 2
    assert all(name.startswith("untrained-0-") for name in names)


def test_a_bundle_is_compared_with_its_results_of_other_samples(
    cases: Path, bundle: Bundle, tmp_path: Path
):
    for number in range(2):
        source = cases / f"body{number}" / "series"
        out = tmp_path / "results" / f"body{number}"
        segment_to_folder(source, out, bundle=bundle, device="cpu", samples=1)

    run(cases, tmp_path / "out", [bundle], results=(tmp_path / "results",))

    names = {row["arm"] for row in scores(tmp_path / "out")}
    assert names == {"untrained 0 T2", "untrained 0 T1"}


def test_a_bundle_is_not_compared_with_itself_nor_three_with_each_other(bundle: Bundle):
    with pytest.raises(ConfigurationError, match="compared with itself"):
        request_of(Path(), bundles=[bundle, bundle])
    with pytest.raises(ConfigurationError, match="3 bundles"):
        request_of(Path(), bundles=[bundle] * 3)


@pytest.mark.parametrize(("text", "numbers"), [("", ()), ("1,5,10", (1, 5, 10)), (" 2 ", (2,))])
def test_numbers_of_samples_are_a_list(text: str, numbers: tuple[int, ...]):
    assert numbers_of(text) == numbers


def test_what_is_no_list_of_numbers_is_refused():
    with pytest.raises(ConfigurationError, match="1,x"):
        numbers_of("1,x")


def test_the_command_makes_table_9_and_compares_two_bundles(
    cases: Path, bundle: Bundle, tmp_path: Path
):
    other = untrained_bundle(tmp_path / "other")
    text = (other.folder / "bundle.toml").read_text()
    (other.folder / "bundle.toml").write_text(text.replace('version = "0"', 'version = "9"'))

    done = CliRunner().invoke(
        cli.app,
        [
            *("evaluate", str(cases), "--out", str(tmp_path / "out"), "--samples", "1,2"),
            *("--bundle", str(bundle.folder), "--bundle", str(other.folder)),
            *("--device", "cpu"),
        ],
    )

    assert done.exit_code == 0, done.output
    assert "report written to" in done.output
    table = (tmp_path / "out" / "tables" / "table-9-untrained-0.csv").read_text()
    assert [line.split(",")[0] for line in table.splitlines()] == ["samples", "1", "2"]
    assert "untrained 9" in (tmp_path / "out" / "tables" / "table-4.md").read_text()


def test_the_phantom_command_makes_a_labelled_case(tmp_path: Path):
    made = CliRunner().invoke(
        cli.app, ["phantom", str(tmp_path / "a"), "--scan", "small", "--body", "3"]
    )
    (listed,) = listed_cases(tmp_path)
    case = read_case(listed)

    assert made.exit_code == 0, made.output
    assert listed.name == "a"
    assert len(np.unique(case.truth)) == 44
    assert str(dcmread(next((tmp_path / "a" / "series").iterdir())).Modality) == "CT"
