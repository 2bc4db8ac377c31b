#!/usr/bin/env bash
# qrscp answers a C-MOVE whose destination is busy as if nobody knew that destination.
#
# Expected: a destination that is known and turns the association away for the moment (transient,
#   local limit exceeded) ends the C-MOVE with 0xA702, unable to perform sub-operations, as PS3.4
#   C.4.2.1.5 has it; 0xA801, Move Destination unknown, is for a title that is not configured.
# Seen: 0xA801 in both cases. So one who asks cannot tell a full port, which is free a minute
#   later, from a mistake in the archive's settings, which no waiting mends. As soon as the other
#   association is released, the same C-MOVE is answered 0x0000 and the image comes.
# Versions: pynetdicom 3.0.4 (its application qrscp), pydicom 3.0.2, SQLAlchemy 2.1.9.
# Matters: who retrieves in bulk and sorts statuses into "later" and "never".
# Date: 2026-11-30
set -euo pipefail
folder=$(mktemp -d)
server=
clean() {
  [[ -z $server ]] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
  rm -rf "$folder"
}
trap clean EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pynetdicom==3.0.4 pydicom==3.0.2 SQLAlchemy==2.1.9 ||
  { echo "skipped: the packages cannot be installed"; exit 77; }
cat >"$folder/qrscp.ini" <<INI
[DEFAULT]
ae_title: ARCHIVE
port: 31112
max_pdu: 16382
acse_timeout: 10
dimse_timeout: 10
network_timeout: 10
bind_address: 127.0.0.1
instance_location: $folder/instances
database_location: $folder/instances.sqlite
log_identifier: False
[ASKER]
address: 127.0.0.1
port: 31113
INI
cd "$folder"
timeout 120 "$folder/venv/bin/python" -m pynetdicom qrscp -c qrscp.ini >"$folder/log" 2>&1 &
server=$!

timeout 100 "$folder/venv/bin/python" - <<'PY'
import sys
import time
from importlib.metadata import version

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as MOVE
from pynetdicom.sop_class import Verification

image = Dataset()
image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, "2.25.3"
image.StudyInstanceUID, image.SeriesInstanceUID = "2.25.1", "2.25.2"
image.PatientID, image.PatientName, image.StudyDate = "INVENTED", "Invented^Patient", "20260105"
image.StudyTime, image.AccessionNumber, image.StudyID = "101500", "", "1"
image.Modality, image.SeriesNumber, image.InstanceNumber = "CT", 1, 1
image.file_meta = FileMetaDataset()
image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

came = []
asker = AE("ASKER")
asker.maximum_associations = 1
asker.add_supported_context(CTImageStorage)
asker.add_supported_context(Verification)
asker.start_server(
    ("127.0.0.1", 31113),
    block=False,
    evt_handlers=[(evt.EVT_C_STORE, lambda event: came.append(event) or 0x0000)],
)
caller = AE("ASKER")
for uid in (MOVE, CTImageStorage, Verification):
    caller.add_requested_context(uid, ImplicitVRLittleEndian)


def called(port, title):
    for _ in range(60):
        association = caller.associate("127.0.0.1", port, ae_title=title)
        if association.is_established:
            return association
        time.sleep(0.5)
    sys.exit("skipped: nobody answers")


def moved(association, to):
    """The last status of a C-MOVE of the study."""
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", "2.25.1"
    last = None
    for status, _ in association.send_c_move(query, to, MOVE):
        last = status.get("Status")
    return last


print("pynetdicom", version("pynetdicom"))
archive = called(31112, "ARCHIVE")
assert archive.send_c_store(image).Status == 0
unknown = moved(archive, "NOBODY")
holder = called(31113, "ASKER")
busy = moved(archive, "ASKER")
holder.release()
time.sleep(1)
free = moved(archive, "ASKER")
archive.release()
print(f"destination not configured: 0x{unknown:04X}")
print(f"destination configured, its one association taken: 0x{busy:04X}")
print(f"the same, free again: 0x{free:04X}, images that came: {len(came)}")
if (unknown, busy, free, len(came)) != (0xA801, 0xA801, 0x0000, 1):
    sys.exit("CHANGED: the statuses are others")
print("as stated")
PY
