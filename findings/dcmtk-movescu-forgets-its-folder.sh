#!/usr/bin/env bash
# DCMTK's movescu with --bit-preserving forgets --output-directory.
#
# Expected: --output-directory holds, whether the objects are written as they come
#   (--bit-preserving) or not.
# Seen: with --bit-preserving the object lands in the working directory, exit 0, no word of it.
#   Without it, and from getscu and storescp with it, it lands in the folder that was named.
# Versions: dcmtk 3.6.7-9~deb12u4 (Debian 12), pydicom 3.0.2 for the object.
# Matters: who fetches objects back from an archive to compare them byte by byte: images of
#   patients lie in a folder that nobody looks at, and the one that was named is empty.
# Date: 2026-11-29
set -euo pipefail
found=$(dpkg-query -W -f '${Version}' dcmtk 2>/dev/null || true)
[[ $found == 3.6.7-* ]] ||
  { echo "skipped: package dcmtk 3.6.7 is missing (found: ${found:-none})"; exit 77; }
[[ $(id -u) -eq 0 ]] && command -v ip >/dev/null ||
  { echo "skipped: needs root and the package iproute2, for a network with lo alone"; exit 77; }
folder=$(mktemp -d)
network=finding$$
servers=()
clean() {
  for server in "${servers[@]}"; do
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  done
  ip netns del "$network" 2>/dev/null || true
  rm -rf "$folder"
}
trap clean EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pydicom==3.0.2 ||
  { echo "skipped: the package cannot be installed"; exit 77; }
"$folder/venv/bin/python" - "$folder/object.dcm" <<'PY'
import sys

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

made = Dataset()
made.SOPClassUID, made.SOPInstanceUID = SecondaryCaptureImageStorage, "2.25.1"
made.StudyInstanceUID, made.SeriesInstanceUID, made.Modality = "2.25.2", "2.25.3", "OT"
made.PatientID, made.PatientName = "INVENTED", "Invented^Nobody"
made.StudyDate, made.StudyTime, made.StudyID, made.AccessionNumber = "20260101", "12", "1", "1"
made.file_meta = FileMetaDataset()
made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
made.save_as(sys.argv[1], enforce_file_format=True)
PY

mkdir "$folder"/{archive,work,move,move-exact,get-exact,scp-exact}
cat >"$folder/archive.cfg" <<CFG
NetworkTCPPort = 11112
MaxPDUSize = 16384
MaxAssociations = 4
HostTable BEGIN
asker = (ASKER, 127.0.0.1, 11113)
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
ARCHIVE $folder/archive RW (10, 10mb) ANY
AETable END
CFG
ip netns add "$network"
ip netns exec "$network" ip link set lo up
inside() { timeout 60 ip netns exec "$network" "$@"; }
cd "$folder/work"
timeout 60 ip netns exec "$network" /usr/bin/dcmqrscp --config "$folder/archive.cfg" &
servers+=($!)
timeout 60 ip netns exec "$network" \
  /usr/bin/storescp --bit-preserving -od "$folder/scp-exact" 11114 &
servers+=($!)
for port in 11112 11114; do
  for _ in {1..50}; do
    inside /usr/bin/echoscu -aec ARCHIVE 127.0.0.1 $port 2>/dev/null && break
    sleep 0.2
  done
  inside /usr/bin/storescu -aec ARCHIVE 127.0.0.1 $port "$folder/object.dcm"
done

asking=(-S -aet ASKER -aec ARCHIVE -k QueryRetrieveLevel=IMAGE -k StudyInstanceUID=2.25.2
  -k SeriesInstanceUID=2.25.3 -k SOPInstanceUID=2.25.1)
inside /usr/bin/movescu "${asking[@]}" --port 11113 \
  --output-directory "$folder/move" 127.0.0.1 11112
inside /usr/bin/getscu "${asking[@]}" --bit-preserving \
  --output-directory "$folder/get-exact" 127.0.0.1 11112
[[ -z $(ls) ]] || { echo "CHANGED: something landed in the working directory too early"; exit 1; }
inside /usr/bin/movescu "${asking[@]}" --bit-preserving --port 11113 \
  --output-directory "$folder/move-exact" 127.0.0.1 11112

echo "dcmtk $found"
for name in move get-exact scp-exact move-exact work; do echo "$name: $(ls "$folder/$name")"; done
for name in move get-exact scp-exact; do
  [[ -n $(ls "$folder/$name") ]] || { echo "CHANGED: nothing in the folder $name"; exit 1; }
done
[[ -z $(ls "$folder/move-exact") && -n $(ls "$folder/work") ]] ||
  { echo "CHANGED: movescu --bit-preserving keeps to its folder"; exit 1; }
echo "as stated"
