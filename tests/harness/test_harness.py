"""The harness itself, before anything is concluded from it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage
from support.ct_files import write_ct
from support.namespace import Namespace
from support.orthanc import NODE_AE, NODE_PORT, Orthanc
from support.waiting import wait_until


def test_orthanc_routes_a_stable_ct_series_and_gives_back_what_it_got(
    orthanc: Orthanc, tmp_path: Path
) -> None:
    """Three slices in by C-STORE, three out by auto-routing, and the same three by REST."""
    sent = write_ct(tmp_path / "sent", slices=3)
    study = pydicom.dcmread(sent[0]).StudyInstanceUID
    routed: list[str] = []

    def keep(event: evt.Event) -> int:
        routed.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    ae = AE(NODE_AE)
    ae.add_supported_context(CTImageStorage)
    server = ae.start_server(
        ("127.0.0.1", NODE_PORT), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)]
    )
    try:
        orthanc.store(sent)
        wait_until(lambda: len(routed) == 3, within_s=15, words="three slices were routed")
    finally:
        server.shutdown()

    stored = orthanc.instances(study)
    assert sorted(routed) == sorted(one.sop_instance_uid for one in stored)
    original = pydicom.dcmread(sent[0])
    same = next(one for one in stored if one.sop_instance_uid == original.SOPInstanceUID)
    back = tmp_path / "back.dcm"
    back.write_bytes(orthanc.file(same))
    assert pydicom.dcmread(back).PixelData == original.PixelData


def test_the_namespace_has_nothing_but_loopback(namespace: Namespace) -> None:
    addresses = subprocess.run(
        ["ip", "-brief", "address"], check=True, capture_output=True, text=True
    ).stdout.split()

    assert addresses[0] == "lo"
    assert set(addresses[2:]) <= {"127.0.0.1/8", "::1/128"}


def test_orthanc_answers_dicomweb(orthanc: Orthanc, tmp_path: Path) -> None:
    orthanc.store(write_ct(tmp_path, slices=1))

    (study,) = orthanc.get("/dicom-web/studies")

    assert study["00080061"]["Value"] == ["CT"]


@pytest.mark.parametrize("modality", ["CT", "SEG"])
def test_only_a_segmentation_is_kept_waiting(
    orthanc: Orthanc, tmp_path: Path, modality: str
) -> None:
    """The kill trials rely on it: the sender waits in the middle of its C-STORE."""
    paths = write_ct(tmp_path, slices=1, modality=modality)
    orthanc.hold()
    sender = subprocess.Popen(
        ["/usr/bin/dcmsend", "--call", "PACS", "127.0.0.1", "4242", str(paths[0])]
    )
    if modality == "SEG":
        wait_until(orthanc.is_holding, within_s=10, words="Orthanc keeps the sender waiting")
        assert sender.poll() is None
        orthanc.release()

    assert sender.wait(10) == 0
