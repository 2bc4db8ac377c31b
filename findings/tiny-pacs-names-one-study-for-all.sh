#!/usr/bin/env bash
# tiny_pacs answers a C-FIND with the right number of studies, and the same one each time.
#
# Expected: three studies are stored, so three answers name three studies; asked besides for
#   Number of Study Related Instances (an optional return key), it fills it in or leaves it empty.
# Seen: three pending answers, status 0000 at the end, and all three name one and the same study.
#   Asked besides for Number of Study Related Instances there is one answer only, with the count
#   of all three studies' images. One image a query, by a Study Instance UID that is given, is
#   answered right: what is stored is there.
# Versions: tiny_pacs 0.4.1, pynetdicom2 0.9.8; asked with pynetdicom 3.0.4, pydicom 3.0.2.
# Matters: who lists an archive by date and takes "as many answers as expected" for "all studies":
#   two of three studies are never retrieved, and nothing says so.
# Date: 2026-11-30
set -euo pipefail
[[ $(id -u) -eq 0 ]] && command -v ip >/dev/null ||
  { echo "skipped: needs root and the package iproute2, for a network with lo alone"; exit 77; }
folder=$(mktemp -d)
network=finding$$
server=
clean() {
  [[ -z $server ]] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
  ip netns del "$network" 2>/dev/null || true
  rm -rf "$folder"
}
trap clean EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tiny_pacs==0.4.1 pynetdicom2==0.9.8 peewee==4.5.3 \
  trolleybus==0.2.0 pynetdicom==3.0.4 pydicom==3.0.2 ||
  { echo "skipped: the packages cannot be installed"; exit 77; }
cat >"$folder/tiny.json" <<JSON
{"ae": {"ae_title": ["ARCHIVE"], "port": 11112},
 "components": {"Devices": {"on": true,
   "devices": {"ASKER": {"aet": "ASKER", "address": "127.0.0.1", "port": 11113}}}}}
JSON
ip netns add "$network"
ip netns exec "$network" ip link set lo up
cd "$folder"
timeout 120 ip netns exec "$network" "$folder/venv/bin/python" -m tiny_pacs run -c tiny.json \
  >"$folder/log" 2>&1 &
server=$!

timeout 100 ip netns exec "$network" "$folder/venv/bin/python" - <<'PY'
import sys
import time
from importlib.metadata import version

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND

STUDIES = ["2.25.11", "2.25.12", "2.25.13"]


def image(study):
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, f"{study}.2"
    made.StudyInstanceUID, made.SeriesInstanceUID = study, f"{study}.1"
    made.PatientID, made.PatientName = f"P{study[-1]}", "Invented^Patient"
    made.StudyDate, made.StudyTime, made.AccessionNumber, made.StudyID = "20260105", "101500", "", ""
    made.Modality, made.SeriesNumber, made.InstanceNumber = "CT", 1, 1
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = CTImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def called():
    asker = AE("ASKER")
    asker.add_requested_context(FIND)
    asker.add_requested_context(CTImageStorage, ImplicitVRLittleEndian)
    for _ in range(60):
        association = asker.associate("127.0.0.1", 11112, ae_title="ARCHIVE")
        if association.is_established:
            return association
        time.sleep(0.5)
    sys.exit("skipped: tiny_pacs did not start")


def studies(association, **keys):
    """The answers to one query, and its last status."""
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    found, last = [], None
    for status, answer in association.send_c_find(query, FIND):
        last = status.Status
        if answer is not None:
            found.append(answer)
    return found, last


print("tiny_pacs", version("tiny-pacs"), "pynetdicom2", version("pynetdicom2"))
association = called()
for study in STUDIES:
    assert association.send_c_store(image(study)).Status == 0
each = [studies(association, StudyInstanceUID=study, StudyDate="")[0] for study in STUDIES]
alone = [answer[0].StudyInstanceUID for answer in each if len(answer) == 1]
print("asked for one by its UID:", ", ".join(alone))
found, status = studies(association, StudyInstanceUID="", StudyDate="20260105")
names = [answer.StudyInstanceUID for answer in found]
print(f"asked for a day: {len(found)} answers, 0x{status:04X}:", ", ".join(names))
counted, _ = studies(
    association, StudyInstanceUID="", StudyDate="20260105", NumberOfStudyRelatedInstances=""
)
counts = [str(answer.get("NumberOfStudyRelatedInstances")) for answer in counted]
print(f"with the number of images: {len(counted)} answer(s), number {', '.join(counts)}")
association.release()
if alone != STUDIES:
    sys.exit("CHANGED: not every study is there when it is asked for by its UID")
if (len(names), len(set(names)), status) != (3, 1, 0):
    sys.exit("CHANGED: the answers for a day no longer name one study three times")
if len(counted) != 1 or counts != ["3"]:
    sys.exit("CHANGED: with the number of images the answer is another")
print("as stated")
PY
