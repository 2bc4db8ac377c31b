#!/usr/bin/env bash
# dicomweb-client throws the answer to STOW-RS away where its media type has a parameter.
#
# Expected: store_instances returns what the service says of each instance, whether it calls
#   its JSON "application/dicom+json" or "application/dicom+json; charset=utf-8".
# Seen: with a parameter, or with a capital letter, the body is not read. An empty dataset
#   comes back, without an error or a warning. A service that answers 202 and lists every
#   instance as failed then looks like one that has nothing to complain of.
#   With 409 it raises HTTPError in either case; the list is in the exception's response.
# Versions: dicomweb-client 0.61.2, pydicom 3.0.2, Python 3.11.
# Matters: who counts Failed SOP Sequence to know whether its SEG and SR are in the archive.
# Date: 2026-11-29
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet dicomweb-client==0.61.2 pydicom==3.0.2 ||
  { echo "skipped: the packages cannot be installed"; exit 77; }

timeout 60 "$folder/venv/bin/python" - <<'PY'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from requests import HTTPError

failed = Dataset()
failed.ReferencedSOPClassUID, failed.ReferencedSOPInstanceUID = CTImageStorage, "2.25.1"
failed.FailureReason = 0xA700
answer = Dataset()
answer.FailedSOPSequence = [failed]
BODY = json.dumps(answer.to_json_dict()).encode()


class Service(BaseHTTPRequestHandler):
    """Refuses whatever it is given."""

    status, media_type = 202, ""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Type", self.media_type)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *words):
        pass


image = Dataset()
image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, "2.25.1"
image.StudyInstanceUID, image.SeriesInstanceUID = "2.25.2", "2.25.3"
image.file_meta = FileMetaDataset()
image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
image.file_meta.MediaStorageSOPClassUID = CTImageStorage
image.file_meta.MediaStorageSOPInstanceUID = "2.25.1"

server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = DICOMwebClient(f"http://127.0.0.1:{server.server_port}")
print("dicomweb-client", version("dicomweb-client"))
seen = []
for Service.status, Service.media_type in (
    (202, "application/dicom+json"),
    (202, "application/dicom+json; charset=utf-8"),
    (202, "Application/DICOM+JSON"),
    (409, "application/dicom+json"),
):
    try:
        seen.append(f"{len(client.store_instances([image]).get('FailedSOPSequence', []))} failed")
    except HTTPError as error:
        seen.append(f"HTTPError {error.response.status_code}")
    print(f"{Service.status} {Service.media_type}: {seen[-1]}")
server.shutdown()
if (seen[0], seen[3]) != ("1 failed", "HTTPError 409"):
    sys.exit("CHANGED: the plain media type, or 409, is read in another way")
if seen[1:3] != ["0 failed", "0 failed"]:
    sys.exit("CHANGED: the answer is read with a parameter or capitals, too")
print("as stated")
PY
