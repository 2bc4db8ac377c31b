"""Coverage-guided fuzzing of parse -> volume: `make fuzz SECONDS=3600`.

libFuzzer (atheris) mutates sound files and keeps what reaches new code in pydicom and in this
package. What raises anything but a refusal is kept under `tests/fuzz/found`, one file for each
place where it raised, and the run goes on; a crash of a decoder in C, a hang or too much
memory ends it. What was found and mended belongs into `tests/fuzz/regressions`, which
`make test` reads every time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import TextIO

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
FOUND = HERE / "found"
REGRESSIONS = HERE / "regressions"
WORDS = (
    *(
        b"CS",
        b"DS",
        b"IS",
        b"LO",
        b"OB",
        b"OW",
        b"PN",
        b"SH",
        b"SQ",
        b"UI",
        b"UN",
        b"US",
        b"UT",
    ),
    b"\xff\xff\xff\xff",
    b"\xf0\xff\xff\xff",
    b"\xfe\xff\x00\xe0",
    b"\xfe\xff\x0d\xe0",
    b"\xfe\xff\xdd\xe0",
    b"\xe0\x7f\x10\x00",
    b"\x00\x52\x30\x92",
    b"\x28\x00\x08\x00",
    b"1.2.840.10008.1.2.4.80",
    b"1.2.840.10008.1.2.4.70",
    b"1.2.840.10008.1.2.5",
    b"NaN",
    b"1e999",
    b"ISO 2022 IR 87",
    b"\\",
)
"""What random bytes seldom hit upon, for libFuzzer's dictionary."""


def fuzz(folder: Path, options: list[str]) -> None:
    """Run libFuzzer in this process; it does not come back."""
    import atheris  # noqa: PLC0415 - only where somebody fuzzes

    sys.path[:0] = [str(REPOSITORY), str(HERE.parent)]
    with atheris.instrument_imports(include=["pydicom", "dicom_node"]):
        from support.fuzzing import Reading, seeds  # noqa: PLC0415

    corpus = folder / "corpus"
    corpus.mkdir()
    for name, data in seeds().items():
        (corpus / name).write_bytes(data)
    for path in REGRESSIONS.glob("*.bin"):
        (corpus / path.name).write_bytes(path.read_bytes())
    reading = Reading(folder / "series")
    places: set[str] = set()

    def one_input(data: bytes) -> None:
        try:
            reading.ends(data)
        except BaseException as error:  # noqa: BLE001 - what is no refusal is what is looked for
            keep(data, error, places)

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    atheris.Setup([sys.argv[0], *options, str(corpus)], one_input)
    atheris.Fuzz()


def keep(data: bytes, error: BaseException, places: set[str]) -> None:
    """Keep the first input for each place where something was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = "; ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-3:])
    place = f"{type(error).__name__} {place}"
    if place in places:
        return
    places.add(place)
    FOUND.mkdir(exist_ok=True)
    (FOUND / f"{hashlib.sha256(place.encode()).hexdigest()[:12]}.bin").write_bytes(data)
    tell(f"FOUND {place}: {str(error)[:200]}", sys.stderr)


def main(seconds: int) -> int:
    """Fuzz for so long in a child, and say what came of it."""
    FOUND.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_in_memory()) as folder:
        words = Path(folder) / "words.dict"
        quoted = ("".join(f"\\x{byte:02x}" for byte in word) for word in WORDS)
        words.write_text("".join(f'"{word}"\n' for word in quoted), encoding="ascii")
        started = time.monotonic()
        child = subprocess.run(
            [
                *(sys.executable, __file__, "--child", folder),
                f"-max_total_time={seconds}",
                f"-artifact_prefix={FOUND}/",
                f"-dict={words}",
                *(
                    "-max_len=16384",
                    "-timeout=20",
                    "-rss_limit_mb=3072",
                    "-print_final_stats=1",
                ),
                *("-verbosity=1", "-reload=0"),
            ],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        took = time.monotonic() - started
    runs = re.search(r"number_of_executed_units:\s*(\d+)", child.stderr)
    covered = re.findall(r"cov: (\d+)", child.stderr)
    found = sorted(path.name for path in FOUND.iterdir())
    tell(f"{took:.0f} s, {runs[1] if runs else '?'} inputs, {(covered or ['?'])[-1]} edges")
    for line in child.stderr.splitlines():
        if line.startswith(("FOUND", "==", "SUMMARY")):
            tell(line)
    tell(f"kept in {FOUND.relative_to(REPOSITORY)}: {', '.join(found) or 'nothing'}")
    return 1 if found or child.returncode else 0


def tell(line: str, stream: TextIO = sys.stdout) -> None:
    """Say a line at once: libFuzzer ends without flushing."""
    stream.write(line + "\n")
    stream.flush()


def _in_memory() -> str | None:
    """Files that are written thousands of times a second wear no disk, where that can be."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        fuzz(Path(sys.argv[2]), sys.argv[3:])
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 60))
