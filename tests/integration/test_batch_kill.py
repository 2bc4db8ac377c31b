"""A batch that is killed goes on where it was: nothing twice, nothing half done."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK
from pydicom import dcmread
from support.bundles import untrained_bundle
from support.ct import ct_stack, save
from support.volumes import body
from support.waiting import wait_until

from dicom_node.case_files.phantom_series import write_phantom_series
from dicom_node.case_files.result_folder import segment_to_folder
from inference.models.bundle import load_bundle
from inference.phantom.body import BodySpec
from inference.phantom.spec import SMALL_PHANTOM

SCRIPT = Path(__file__).parents[1] / "support" / "batch_with_crashes.py"
FILES = {"labels.nii.gz", "labels.json", "report.json", "source.json", "qc.png", "density.png"}
FILES |= {"uncertainty.nii.gz", "made_of.json"}
MAKING = {
    *("InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime"),
    *("SeriesDate", "SeriesTime", "VerificationDateTime", "ObservationDateTime"),
    *("ContributionDateTime", "TimezoneOffsetFromUTC"),
}
OBJECTS = {"SR.dcm"}
"""This network sees no hip, so there is no SEG."""


def image_file(path: Path, spacing_mm: float) -> Path:
    volume = body(spacing_mm=(spacing_mm, 8.0, 8.0)).volume
    image = SimpleITK.GetImageFromArray(np.array(volume.hu)[:, ::-1, ::-1])
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    image.SetSpacing((8.0, 8.0, spacing_mm))
    SimpleITK.WriteImage(image, str(path))
    return path


def archive(folder: Path) -> Path:
    """Six scans, one too short and one that crashes the network, as a list."""
    lines = ["path,name"]
    for number in range(3):
        person = BodySpec(variation=1.0, variation_seed=number + 1)
        spec = replace(SMALL_PHANTOM, body=person)
        write_phantom_series(folder / f"p{number}" / "series", spec)
        lines.append(f"p{number},p{number}")
    save(ct_stack((0.0, 2.0)), folder / "short")
    crashing = image_file(folder / "crash.nii.gz", 1.0)
    cut = SimpleITK.ReadImage(str(crashing))[:, :, :7]
    SimpleITK.WriteImage(cut, str(crashing))
    lines += ["crash.nii.gz,crash", "short,short"]
    for number in range(3, 6):
        image_file(folder / f"p{number}.nii.gz", 60.0 - number)
        lines.append(f"p{number}.nii.gz,p{number}")
    table = folder / "list.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def started(table: Path, out: Path, bundle: Path, *more: str) -> subprocess.Popen[bytes]:
    asked = ["segment", "--list", str(table), "--out", str(out), "--bundle", str(bundle)]
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *asked, "--device", "cpu", *more],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finished(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    _, told = process.communicate(timeout=300)
    return process.returncode, told.decode()


def done(out: Path) -> set[str]:
    return {path.parent.name for path in out.glob("*/made_of.json")}


def state(out: Path) -> dict[str, tuple[int, int]]:
    """What tells whether a file was written again."""
    paths = [path for path in out.glob("*/*") if path.is_file()]
    facts = {str(path.relative_to(out)): path.stat() for path in paths}
    return {name: (one.st_ino, one.st_mtime_ns) for name, one in facts.items()}


def children(process: subprocess.Popen[bytes]) -> list[int]:
    tasks = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in tasks.read_text().split()]


def is_gone(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return text.rsplit(")", 1)[1].split()[0] == "Z"


def without_times(path: Path) -> bytes:
    """A file's bytes, with nothing where the time of its making stands."""
    if path.suffix == ".json":
        told = json.loads(path.read_bytes())
        assert told.pop("analysed_at")
        return json.dumps(told).encode()
    dataset = dcmread(path)
    times = set()
    for element in dataset.iterall():
        if element.VR in {"DA", "TM", "DT"} and element.keyword in MAKING:
            element.value = ""
            times.add(element.keyword)
    assert len(times) > 2
    encoded = io.BytesIO()
    dataset.save_as(encoded)
    return encoded.getvalue()


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "cases.csv").open(newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def test_a_batch_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    bundle = untrained_bundle(tmp_path / "bundle").folder
    table, out = archive(tmp_path / "in"), tmp_path / "out"
    killed = started(table, out, bundle)
    wait_until(lambda: len(done(out)) >= 2, within_s=120, words="two cases are done")
    pids = children(killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()

    assert len(pids) == 3
    wait_until(lambda: all(map(is_gone, pids)), words="its processes end with it")
    before = state(out)
    finished_cases = done(out)
    named = {path.name for path in out.iterdir() if path.is_dir() and path.name[0] != "."}
    assert named == finished_cases  # nothing half done has a case's name
    assert len(finished_cases) < 8

    code, told = finished(started(table, out, bundle))
    after = state(out)
    assert code == 1  # one failed
    assert f"8 cases, {len(finished_cases)} of them done before" in told
    assert {name: after[name] for name in before} == before
    assert not list(out.glob(".part-*"))
    for number in range(6):
        files = {path.name for path in (out / f"p{number}").iterdir()}
        assert files == FILES | (OBJECTS if number < 3 else set())
    found = rows(out)
    assert list(found) == ["p0", "p1", "p2", "crash", "short", "p3", "p4", "p5"]
    assert found["short"]["verdict"] == "refused (too-few-slices)"
    assert found["crash"]["outcome"] == "failed"
    assert found["crash"]["words"] == "segmenting: it crashed (SIGSEGV)"
    assert {one["outcome"] for one in found.values()} == {"analysed", "refused", "failed"}
    assert json.loads((out / "short" / "report.json").read_text())["refused"]["code"]

    # A third time nothing is to do; asked for, what failed is tried again, and it alone.
    code, told = finished(started(table, out, bundle))
    assert (code, state(out)) == (1, after)
    assert "8 cases, 8 of them done before" in told
    code, told = finished(started(table, out, bundle, "--again-failed"))
    assert code == 1
    again = state(out)
    changed = {name for name in again if again[name] != after.get(name)}
    assert changed == {"crash/made_of.json"}

    # Results are those of the scan by itself, to the byte but for the times.
    alone = tmp_path / "alone"
    segment_to_folder(tmp_path / "in" / "p1", alone, bundle=load_bundle(bundle), device="cpu")
    for name in FILES - {"source.json", "made_of.json"}:
        assert (out / "p1" / name).read_bytes() == (alone / name).read_bytes(), name
    for name in (*OBJECTS, "source.json"):
        assert without_times(out / "p1" / name) == without_times(alone / name), name
