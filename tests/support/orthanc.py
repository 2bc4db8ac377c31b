"""A real Orthanc as the hospital's PACS: started in a namespace, asked through its REST API."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.namespace import Namespace
from support.waiting import wait_until

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ROUTE = Path(__file__).parents[1] / "harness" / "route.lua"

# Fixed, because the namespace is the harness's own.
HTTP_PORT = 8042
DICOM_PORT = 4242
PACS_AE = "PACS"
NODE_AE = "MSKNODE"
NODE_PORT = 11112
STABLE_S = 1


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One instance as Orthanc lists it: its own identifier and the DICOM ones."""

    orthanc_id: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    modality: str


@dataclass(slots=True)
class Orthanc:
    """A running Orthanc; call from inside its namespace."""

    folder: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    def is_up(self) -> bool:
        """Whether the REST API answers; an error if the process has ended."""
        if self.process.poll() is not None:
            log = (self.folder / "orthanc.log").read_text(errors="replace")
            raise RuntimeError(f"Orthanc ended at its start:\n{log[-2000:]}")
        try:
            return bool(self.get("/system"))
        except ConnectionError:
            return False

    def get(self, path: str) -> Any:
        """The JSON that a GET answers."""
        return json.loads(self._ask("GET", path))

    def post(self, path: str, body: object) -> Any:
        """The JSON that a POST answers."""
        return json.loads(self._ask("POST", path, json.dumps(body).encode()))

    def put(self, path: str, body: bytes) -> None:
        """Put something as it is."""
        self._ask("PUT", path, body)

    def store(self, paths: Iterable[Path]) -> None:
        """Send files to Orthanc by C-STORE, with DCMTK in the part of the scanner."""
        subprocess.run(
            ["/usr/bin/dcmsend", "--aetitle", "SCANNER", "--call", PACS_AE,
             "127.0.0.1", str(DICOM_PORT), *map(str, paths)],
            check=True, capture_output=True,
        )  # fmt: skip

    def upload(self, paths: Iterable[Path]) -> None:
        """Put files in by REST: quick, and what came so is not routed on."""
        for path in paths:
            self._ask("POST", "/instances", path.read_bytes())

    def finds(self, study: str, series: str, instance: str) -> bool:
        """Whether QIDO-RS lists exactly this instance."""
        place = f"/dicom-web/studies/{study}/series/{series}/instances"
        found = self.get(f"{place}?SOPInstanceUID={instance}")
        return [one["00080018"]["Value"] for one in found] == [[instance]]

    def fetch(self, study: str, series: str, instance: str, folder: Path) -> Path:
        """Get an instance by WADO-RS into a folder, in the transfer syntax that it has."""
        place = f"/dicom-web/studies/{study}/series/{series}/instances/{instance}"
        kind = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        (part,) = self._parts("GET", place, kind)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{instance}.dcm"
        path.write_bytes(part)
        return path

    def send_on(self, study_instance_uid: str) -> str:
        """Send the CT series of a study to the node once more; the job's identifier."""
        series = [
            one["ID"]
            for one in self._series(study_instance_uid)
            if one["MainDicomTags"]["Modality"] == "CT"
        ]
        job = self.post("/modalities/node/store", {"Resources": series, "Synchronous": False})
        return str(job["ID"])

    def instances(self, study_instance_uid: str) -> tuple[StoredInstance, ...]:
        """Every instance of a study."""
        return tuple(
            self._stored(identifier)
            for series in self._series(study_instance_uid)
            for identifier in series["Instances"]
        )

    def results(self, study_instance_uid: str) -> tuple[StoredInstance, ...]:
        """The instances of a study that are not CT images."""
        return tuple(
            self._stored(identifier)
            for series in self._series(study_instance_uid)
            if series["MainDicomTags"]["Modality"] != "CT"
            for identifier in series["Instances"]
        )

    def file(self, instance: StoredInstance) -> bytes:
        """The instance as a DICOM file."""
        return self._ask("GET", f"/instances/{instance.orthanc_id}/file")

    def has_succeeded(self, job: str) -> bool:
        """Whether a job has come to a good end."""
        return bool(self.get(f"/jobs/{job}")["State"] == "Success")

    def failed_routing(self, series_instance_uid: str) -> str | None:
        """The job that could not send a series to the node, if there is one.

        Jobs of other tests have failed too: nobody listened when their images were routed.
        """
        query = {"Level": "Series", "Query": {"SeriesInstanceUID": series_instance_uid}}
        stored = set(self.post("/tools/find", query))
        failed = (
            job["ID"]
            for job in self.get("/jobs?expand")
            if job["State"] == "Failure"
            and stored.intersection(job["Content"].get("ParentResources", ()))
        )
        return next(failed, None)

    def hold(self) -> None:
        """Keep the sender of the next segmentation waiting for its answer."""
        (self.folder / "hold").touch()

    def is_holding(self) -> bool:
        """Whether a sender is being kept waiting now."""
        return (self.folder / "holding").exists()

    def release(self) -> None:
        """Let a waiting sender go on."""
        (self.folder / "hold").unlink(missing_ok=True)

    def lose(self, sop_instance_uid: str) -> None:
        """Delete one instance."""
        wanted = {"Level": "Instance", "Query": {"SOPInstanceUID": sop_instance_uid}}
        for found in self.post("/tools/find", wanted):
            self._ask("DELETE", f"/instances/{found}")

    def empty(self) -> None:
        """Delete every patient."""
        for patient in self.get("/patients"):
            self._ask("DELETE", f"/patients/{patient}")

    def stop(self) -> None:
        """End Orthanc and wait for its end."""
        self.release()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _series(self, study_instance_uid: str) -> list[dict[str, Any]]:
        query = {"StudyInstanceUID": study_instance_uid}
        found = self.post("/tools/find", {"Level": "Series", "Expand": True, "Query": query})
        return list(found)

    def _stored(self, orthanc_id: str) -> StoredInstance:
        tags = self.get(f"/instances/{orthanc_id}/simplified-tags")
        return StoredInstance(
            orthanc_id=orthanc_id,
            sop_class_uid=tags["SOPClassUID"],
            sop_instance_uid=tags["SOPInstanceUID"],
            series_instance_uid=tags["SeriesInstanceUID"],
            modality=tags["Modality"],
        )

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        return self._answer(method, path, body)[1]

    def _parts(self, method: str, path: str, kind: str) -> list[bytes]:
        """The parts of a multipart answer (RFC 2046)."""
        named, data = self._answer(method, path, None, {"Accept": kind})
        boundary = re.search(r'boundary="?([^";]+)', named)
        assert boundary is not None, named
        pieces = data.split(b"--" + boundary[1].encode())[1:-1]
        return [piece.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n") for piece in pieces]

    def _answer(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str] | None = None
    ) -> tuple[str, bytes]:
        """Content type and content."""
        connection = http.client.HTTPConnection("127.0.0.1", HTTP_PORT, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"Orthanc: {method} {path}: {response.status} {data[:500]!r}")
        return response.getheader("Content-Type", ""), data


def start_orthanc(namespace: Namespace, folder: Path, **settings: object) -> Orthanc:
    """Start Orthanc with an empty store in `folder` and wait until it answers.

    Args:
        namespace: where it runs.
        folder: for its settings, its store and its log.
        settings: of its own, beside or instead of the harness's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "orthanc.json"
    configuration.write_text(json.dumps(_configuration(folder) | settings, indent=2))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(
            namespace.argv("Orthanc", str(configuration)),
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "MSK_HARNESS_FOLDER": str(folder)},
            start_new_session=True,  # a Ctrl-C in the terminal is the tests' to handle
        )
    orthanc = Orthanc(folder, process)
    try:
        with namespace.inside():
            wait_until(orthanc.is_up, within_s=30, words=f"Orthanc answers ({folder})")
    except BaseException:
        orthanc.stop()
        raise
    return orthanc


def _configuration(folder: Path) -> dict[str, object]:
    return {
        "Name": "HARNESS",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "Plugins": [str(PLUGIN)],
        "LuaScripts": [str(ROUTE)],
        "HttpPort": HTTP_PORT,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": PACS_AE,
        "DicomPort": DICOM_PORT,
        "DicomCheckCalledAet": True,
        "DicomModalities": {
            "node": {"AET": NODE_AE, "Host": "127.0.0.1", "Port": NODE_PORT},
        },
        "StableAge": STABLE_S,
        "OverwriteInstances": False,
        "UnknownSopClassAccepted": True,  # Label Map Segmentation Storage is younger than it
        "JobsHistorySize": 1000,
        "DicomScuTimeout": 30,
        "DefaultEncoding": "Utf8",
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
