"""Scans in folders and lists: which there are, and what they are called."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from support.ct import ct_stack, save

from dicom_node.batch import sources
from dicom_node.batch.cases import case_name
from dicom_node.batch.folders import case_folder
from dicom_node.batch.listing import cases_listed, read_list
from dicom_node.batch.markers import made_of
from dicom_node.batch.sources import KnownFolders, cases_in
from dicom_node.case_files.dicom_folders import series_of
from dicom_node.errors import ConfigurationError, NoImagesError


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((3, 4, 4), np.int16)), str(path))
    return path


def series(folder: Path, uid: str) -> list[Path]:
    slices = ct_stack()
    for one in slices:
        one.SeriesInstanceUID = uid
    return save(slices, folder)


def known(tmp_path: Path) -> KnownFolders:
    return KnownFolders.read(tmp_path / "index")


def test_series_are_found_however_deep_and_called_by_their_uid(tmp_path: Path):
    series(tmp_path / "in" / "a" / "b", "1.2.3")
    series(tmp_path / "in" / "c", "1.2.4")
    image(tmp_path / "in" / "c" / "labels.nii.gz")
    found = cases_in(tmp_path / "in", known(tmp_path))

    assert [case.name for case in found.cases] == ["1.2.3", "1.2.4"]
    assert [case.source for case in found.cases] == [
        tmp_path / "in" / "a" / "b",
        tmp_path / "in" / "c",
    ]
    assert found.passed_over == ("1 image file(s) beside DICOM",)  # the label map


def test_a_series_in_two_folders_is_one_scan(tmp_path: Path):
    paths = series(tmp_path / "in" / "a", "1.2.3")
    (tmp_path / "in" / "b").mkdir()
    moved = paths[0].rename(tmp_path / "in" / "b" / paths[0].name)
    (case,) = cases_in(tmp_path / "in", known(tmp_path)).cases

    assert set(case.files) == {*paths[1:], moved}
    assert case.source == tmp_path / "in"


def test_image_files_are_called_by_their_path_and_alike_ones_told_apart(tmp_path: Path):
    for name in ("p1/ct.nii.gz", "p2/ct.nii.gz", "p3/ct.mha", "p3/ct.nrrd"):
        image(tmp_path / "in" / name)
    names = [case.name for case in cases_in(tmp_path / "in", known(tmp_path)).cases]

    assert names[:2] == ["p1-ct", "p2-ct"]
    assert len(set(names)) == 4
    assert all(name.startswith("p3-ct-") for name in names[2:])
    again = [case.name for case in cases_in(tmp_path / "in", known(tmp_path)).cases]
    assert again == names


def test_results_and_hidden_folders_are_no_scans(tmp_path: Path):
    image(tmp_path / "in" / "ct.nii.gz")
    image(tmp_path / "in" / "results" / "ct" / "labels.nii.gz")
    image(tmp_path / "in" / ".cache" / "old.nii.gz")
    out = tmp_path / "in" / "results"
    (case,) = cases_in(tmp_path / "in", known(tmp_path), besides=[out]).cases
    assert case.name == "ct"


def test_only_folders_that_changed_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    series(tmp_path / "in" / "a", "1.2.3")
    series(tmp_path / "in" / "b", "1.2.4")
    first = known(tmp_path)
    expected = cases_in(tmp_path / "in", first).cases
    first.write()
    series(tmp_path / "in" / "b", "1.2.5")
    with (tmp_path / "index").open("ab") as file:
        file.write(b'{"folder": "broken off')
    read = []
    content = sources._content
    monkeypatch.setattr(
        sources, "_content", lambda folder, *rest: read.append(folder) or content(folder, *rest)
    )
    second = known(tmp_path)
    cases = cases_in(tmp_path / "in", second).cases
    second.write()

    assert read == [tmp_path / "in" / "b"]
    assert [case.name for case in cases] == ["1.2.3", "1.2.5"]
    assert cases[0] == expected[0]
    assert set(known(tmp_path).known) == {
        str(tmp_path / "in" / "a"),
        str(tmp_path / "in" / "b"),
    }


def test_a_damaged_file_goes_with_the_series_beside_it(tmp_path: Path):
    series(tmp_path / "in" / "a", "1.2.3")
    series(tmp_path / "in" / "b", "1.2.4")
    bad = tmp_path / "in" / "a" / "bad.dcm"
    bad.write_bytes(b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\x04\0")
    found = {case.name: case.files for case in cases_in(tmp_path / "in", known(tmp_path)).cases}
    assert bad in found["1.2.3"]
    assert bad not in found["1.2.4"]


def test_nothing_like_a_scan_is_said(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("no scan")
    with pytest.raises(NoImagesError, match="no DICOM, NIfTI, MetaImage or NRRD"):
        cases_in(tmp_path / "in", known(tmp_path))


def test_damaged_files_alone_are_said_with_what_is_wrong_with_them(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\x04\0")
    (tmp_path / "in" / "b.dcm").write_bytes(b"\x08\0\x05\0CS\x04\0abcd" * 20)
    with pytest.raises(NoImagesError) as caught:
        cases_in(tmp_path / "in", known(tmp_path))
    assert "2 file(s) may be DICOM and cannot be read (a file without file" in str(caught.value)
    assert "the file meta information names no transfer syntax" in str(caught.value)
    assert "of which its first elements do not tell how it is written" in str(caught.value)


def test_a_list_gives_names_heights_and_paths_from_its_own_folder(tmp_path: Path):
    series(tmp_path / "scans" / "a", "1.2.3")
    series(tmp_path / "scans" / "two" / "x", "1.2.4")
    series(tmp_path / "scans" / "two" / "y", "1.2.5")
    image(tmp_path / "scans" / "ct.nii.gz")
    table = tmp_path / "list.csv"
    table.write_text(
        "path,name,height_m\n"
        'scans/a,"Smith, J",1.72\n'
        "scans/two,both,\n"
        "\n"
        "# not yet\n"
        "scans/ct.nii.gz,,\n"
        "scans/none,,1.6\n"
    )
    cases = cases_listed(read_list(table), known(tmp_path)).cases

    assert [(case.name, case.height_m) for case in cases] == [
        ("Smith, J", 1.72),
        ("both-1.2.4", None),
        ("both-1.2.5", None),
        ("scans-ct", None),
        ("none", 1.6),
    ]
    assert cases[-1].files == ()


@pytest.mark.parametrize(
    "text",
    [
        '\ufeff"path","name","height_m"\r\n"a, b","x","1.7"\r\n,,\r\n\r\n',
        "Path;Name;Height_m;\na, b;x;1,7;\n;;;\n",
        "path\tname\theight_m\na, b\tx\t1.7\n",
    ],
)
def test_a_list_may_be_as_a_spreadsheet_writes_it(tmp_path: Path, text: str):
    (tmp_path / "list.csv").write_text(text, encoding="utf-8", newline="")
    (one,) = read_list(tmp_path / "list.csv")
    assert (one.path, one.name, one.height_m) == (tmp_path / "a, b", "x", 1.7)


def test_a_text_is_a_path_a_line(tmp_path: Path):
    image(tmp_path / "a, b.nii")
    (tmp_path / "list.txt").write_text("a, b.nii\n")
    (case,) = cases_listed(read_list(tmp_path / "list.txt"), known(tmp_path)).cases
    assert case.files == (tmp_path / "a, b.nii",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists nothing"),
        ("path,weight\na,1\n", "column 'weight'"),
        ("path,name\na,x\nb,x\n", "more than one scan is called 'x'"),
        ("path,name\na,../x\n", "line 2: '../x' cannot be the name"),
        ("path,name\na,Cases.csv\n", "line 2: 'Cases.csv' cannot be the name"),
        ("path,name\na," + "木" * 80 + "\n", "line 2: .* cannot be the name"),
        ("path,height_m\na,172\n", "line 2: a height of 172 m"),
        ("path\na,b\n", "line 2: more values"),
        ("path,path\na,b\n", "column 'path' is there more than once"),
        ('path,name\n"a,b\n', "line 2: no line of a CSV file"),
        ("path,name\n,,\n", "lists nothing"),
        ("path,name\n,b\n", "line 2: no path"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused(tmp_path: Path, text: str, words: str):
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        read_list(path)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("a\na\n", "1.dcm is listed twice: by .*/a and by .*/a"),
        ("a\n./b/../a\n", "1.dcm is listed twice"),
        (".\na\n", "1.dcm is listed twice"),
        ("b/1.nii\nb\n", "1.nii is listed twice: by .*/b/1.nii and by .*/b"),
        ("none\nnone\n", "none is listed twice"),
    ],
)
def test_a_scan_that_is_listed_twice_is_refused_by_its_name(
    tmp_path: Path, lines: str, words: str
):
    """By one name or two: one scan would be done into one folder twice, or count twice."""
    paths = series(tmp_path / "a", "1.2.3")
    paths[0].rename(tmp_path / "a" / "1.dcm")
    image(tmp_path / "b" / "1.nii")
    (tmp_path / "list.txt").write_text(lines)
    with pytest.raises(ConfigurationError, match=words):
        cases_listed(read_list(tmp_path / "list.txt"), known(tmp_path))


def test_scans_in_one_folder_may_be_listed_one_by_one(tmp_path: Path):
    for name in ("1.nii", "2.nii"):
        image(tmp_path / "b" / name)
    (tmp_path / "list.txt").write_text("b/1.nii\nb/2.nii\n")
    cases = cases_listed(read_list(tmp_path / "list.txt"), known(tmp_path)).cases
    assert [case.name for case in cases] == ["b-1", "b-2"]


def test_an_archive_that_moved_as_a_whole_is_the_same(tmp_path: Path):
    series(tmp_path / "in" / "a", "1.2.3")
    (before,) = cases_in(tmp_path / "in", known(tmp_path)).cases
    old = made_of(before, "abc", 1)
    (tmp_path / "in").rename(tmp_path / "moved")
    (after,) = cases_in(tmp_path / "moved", known(tmp_path)).cases
    assert made_of(after, "abc", 1) == old
    os.utime(after.files[0], (1, 1))
    assert made_of(after, "abc", 1) != old


def test_names_are_never_hidden_too_long_or_a_path():
    assert case_name("../a b/c") == "_a_b_c"
    assert case_name("...") == "case"
    assert len(case_name("x" * 300)) < 200
    assert case_name("cases.csv") == "case-cases.csv"


def test_names_of_many_bytes_are_cut_so_that_folders_can_be_called_so(tmp_path: Path):
    """File systems take 255 bytes, and one of these signs has three."""
    name, given = "骨" * 120, "木" * 66
    for number in (1, 2):
        image(tmp_path / "in" / f"{name[: 80 + number]}.nii.gz")
        series(tmp_path / "two" / str(number), f"1.2.{number}{'4' * 50}")
    (tmp_path / "list.csv").write_text(f"path,name\ntwo,{given}\n")
    found = cases_in(tmp_path / "in", known(tmp_path)).cases
    listed = cases_listed(read_list(tmp_path / "list.csv"), known(tmp_path)).cases
    names = [case_name(name), *(case.name for case in (*found, *listed))]

    assert len(set(names)) == 5
    assert name.startswith(names[0].split("-")[0])
    for one in names:
        with case_folder(tmp_path / "out" / one) as part:
            (part / "file").touch()
        assert (tmp_path / "out" / one / "file").exists()


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that this user may not look into, also where the user is root."""
    folder = tmp_path / "in" / "locked"
    look, see = os.scandir, Path.stat

    def scandir(path: str) -> object:
        if Path(path) == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path)

    def stat(path: Path, **options: bool) -> os.stat_result:
        if folder in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return see(path, **options)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(Path, "stat", stat)
    folder.mkdir(parents=True)
    return folder


def test_a_folder_that_cannot_be_looked_into_is_told_and_what_is_known_of_it_stays(
    tmp_path: Path, locked: Path
):
    series(tmp_path / "in" / "a", "1.2.3")
    (tmp_path / "in" / "lost+found").mkdir()
    index = known(tmp_path)
    index.known[str(locked / "below")] = index.content(tmp_path / "in" / "a", [])
    found = cases_in(tmp_path / "in", index)
    index.keep_only(found.folders, tuple(found.unreadable))

    assert [case.name for case in found.cases] == ["1.2.3"]
    assert found.unreadable == {locked: "Permission denied"}
    assert str(locked / "below") in index.known
    with pytest.raises(NoImagesError, match="locked: Permission denied"):
        cases_in(locked, known(tmp_path))


def test_what_a_list_names_and_cannot_be_read_is_a_case_that_fails(
    tmp_path: Path, locked: Path
):
    series(tmp_path / "in" / "a", "1.2.3")
    (tmp_path / "list.txt").write_text("in/locked\nin/locked/1.dcm\nin/locked/ct.nii\nin/a\n")
    found = cases_listed(read_list(tmp_path / "list.txt"), known(tmp_path))

    assert [(case.name, case.unreadable.rpartition(": ")[2]) for case in found.cases] == [
        ("locked", "Permission denied"),
        ("1.dcm", "Permission denied"),
        ("ct.nii", "Permission denied"),
        ("1.2.3", ""),
    ]
    assert found.unreadable == {locked: "Permission denied"}


def test_results_among_scans_are_none_where_an_archive_is_its_own_folder_of_results(
    tmp_path: Path,
):
    """Of a batch, a folder a case; of a single scan, beside it."""
    for folder in ("p1", "p1/p1-ct"):
        image(tmp_path / folder / "labels.nii.gz")
        image(tmp_path / folder / "uncertainty.nii.gz")
    (tmp_path / "p1" / "report.json").touch()
    (tmp_path / "p1" / "p1-ct" / "made_of.json").touch()
    image(tmp_path / "p1" / "ct.nii.gz")
    image(tmp_path / "p2" / "labels.nii.gz")
    found = cases_in(tmp_path, known(tmp_path))
    assert [case.name for case in found.cases] == ["p1-ct", "p2-labels"]


def test_links_to_folders_are_followed_once_and_never_round_in_a_circle(tmp_path: Path):
    """A folder that has a path of its own in the archive is found by it."""
    series(tmp_path / "disk2" / "p2", "1.2.4")
    series(tmp_path / "in" / "p1", "1.2.3")
    for link, target in (
        ("a", "disk2"),
        ("also", "disk2/p2"),
        ("again", "in/p1"),
        ("p1/up", "in"),
        ("p1/root", "."),
        ("out", "results"),
        ("broken", "none"),
    ):
        (tmp_path / "in" / link).symlink_to(tmp_path / target)
    image(tmp_path / "disk2" / "p2" / "back" / "ct.nii")
    (tmp_path / "disk2" / "p2" / "loop").symlink_to(tmp_path / "disk2")
    series(tmp_path / "results" / "x", "1.2.5")
    found = cases_in(tmp_path / "in", known(tmp_path), besides=(tmp_path / "results",))

    assert [(case.name, case.source) for case in found.cases] == [
        ("1.2.3", tmp_path / "in" / "p1"),
        ("1.2.4", tmp_path / "in" / "a" / "p2"),
    ]
    assert [len(case.files) for case in found.cases] == [len(ct_stack())] * 2
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "link").symlink_to(tmp_path / "disk2" / "p2")
    assert [one.series_instance_uid for one in series_of(tmp_path / "one")] == ["1.2.4"]
