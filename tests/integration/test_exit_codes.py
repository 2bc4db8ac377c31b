"""Claims about exit codes: the table in docs/commands.md, brought about from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.ct import ct_stack, save
from support.installed_node import PATIENCE_S, InstalledNode, free_port
from support.small_node import write_small_bundle
from support.waiting import wait_until

from dicom_node.monitoring.audit_file import AuditFile
from dicom_node.monitoring.heartbeats import HEARTBEATS, SUPERVISE, Heart
from dicom_node.receiving.receiver import Receiver, ReceiverSettings
from dicom_node.settings.loading import load_config
from dicom_node.web.accounts.roles import Role
from dicom_node.web.accounts.users import add_user

ROOT = Path(__file__).parents[2]
MSK_NODE = str(Path(sys.executable).parent / "msk-node")
TABLE = re.compile(r"<!-- exit codes -->\n(.*?)<!-- /exit codes -->", re.DOTALL)
SR = "1.2.840.10008.5.1.4.1.1.88.33"
CODES = (2, 3, 4, 5, 6, 7, 8)
COMMON = {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1"}


@dataclass(frozen=True, slots=True)
class Site:
    """A folder with what commands are given, and a peer that takes CT and nothing else."""

    folder: Path
    peer: str
    nobody: str

    def run(self, words: str) -> tuple[int, str]:
        """The exit code of a command, and all that it says; `{...}` is filled in."""
        command = words.format(peer=self.peer, nobody=self.nobody).split()
        done = subprocess.run(
            [MSK_NODE, *command],
            check=False,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, **COMMON},
        )
        return done.returncode, done.stdout + done.stderr


CASES: Mapping[tuple[str, int], tuple[str, ...]] = {
    ("serve", 2): ("serve --role nothing",),
    ("serve", 3): ("serve --config wrong.toml", "serve --config taken.toml"),
    ("check", 2): ("check --nothing",),
    ("check", 3): ("check --config wrong.toml", "check --config none.toml"),
    ("status", 2): ("status --nothing",),
    ("status", 3): ("status --config wrong.toml", "status --config garbled.toml"),
    ("reload", 2): ("reload --nothing",),
    ("reload", 3): ("reload --config wrong.toml", "reload --config rules.toml"),
    ("audit list", 2): ("audit list --config audited.toml --kind nothing",),
    ("audit list", 3): ("audit list --config wrong.toml", "audit list --config rules.toml"),
    ("audit export", 2): ("audit export --config audited.toml",),
    ("audit export", 3): (
        "audit export --out out.csv --config rules.toml",
        "audit export --out file/out.csv --config audited.toml",
    ),
    ("audit verify", 2): ("audit verify --nothing",),
    ("audit verify", 3): ("audit verify --config rules.toml",),
    ("audit verify", 4): ("audit verify --config cut.toml",),
    ("health", 2): ("health --nothing", "health --test-alarms"),
    ("health", 3): ("health --config wrong.toml", "health --alive --config wrong.toml"),
    ("health", 5): ("health --test-alarms --config told.toml",),
    ("health", 7): ("health --config short.toml", "health --alive --config frozen.toml"),
    ("health", 8): ("health", "health --alive", "health --json", "health --config killed.toml"),
    ("metrics", 2): ("metrics --nothing",),
    ("metrics", 3): ("metrics --config wrong.toml", "metrics --out none/metrics.prom"),
    ("release", 2): (
        "release --nothing",
        "release --destination nobody",
        "release --series 1.2.3",
    ),
    ("release", 3): ("release --config wrong.toml",),
    ("backup", 2): ("backup", "backup --out new.tar.zst --verify file"),
    ("backup", 3): (
        "backup --out new.tar.zst --config wrong.toml",
        "backup --out file",
        "backup --out file/new",
        "backup --verify none",
        "backup --verify file",
        "backup --verify empty",
    ),
    ("restore", 2): ("restore", "restore file"),
    ("restore", 3): (
        "restore none --into new",
        "restore file --into new",
        "restore file --into series",
    ),
    ("accept", 2): ("accept --nothing", "accept --destination nobody"),
    ("accept", 3): ("accept --config wrong.toml", "accept --config taken.toml"),
    ("accept", 5): ("accept --config silent.toml",),
    ("find", 2): ("find",),
    ("find", 3): ("find 1 --config wrong.toml", "find 1 --config garbled.toml"),
    ("history", 2): ("history", "history 1.2.3"),
    ("history", 3): ("history 1.2.3 --config garbled.toml",),
    ("retry", 2): ("retry", "retry --state odd", "retry --since x", "retry --series 1.2.3"),
    ("retry", 3): ("retry --series 1.2.3 --config wrong.toml",),
    ("cancel", 2): ("cancel --series 1.2.3",),
    ("cancel", 3): ("cancel --series 1.2.3 --config garbled.toml",),
    ("hold", 2): ("hold --series 1.2.3 --destination nobody",),
    ("hold", 3): ("hold --series 1.2.3 --config wrong.toml",),
    ("resend", 2): ("resend --series 1.2.3", "resend --series 1.2.3 --to nobody"),
    ("resend", 3): ("resend --series 1.2.3 --to pacs --config wrong.toml",),
    ("reanalyse", 2): ("reanalyse --series 1.2.3",),
    ("reanalyse", 3): ("reanalyse --series 1.2.3 --config wrong.toml",),
    ("requery", 2): ("requery nothing", "requery run", "requery run x", "requery pause nobody"),
    ("requery", 3): ("requery status --config wrong.toml", "requery status"),
    ("rules test", 2): (
        "rules test none --config rules.toml",
        "rules test series --config rules.toml --rules none",
    ),
    ("rules test", 3): ("rules test series --config wrong.toml", "rules test series"),
    ("rules test", 4): ("rules test empty --config rules.toml",),
    ("segment", 2): (
        "segment series",
        "segment --out out",
        "segment series --list none.csv --out out",
    ),
    ("segment", 3): (
        "segment series --out out --bundle none",
        "segment series --out file/out --bundle ./bundle",
        "segment --list none.csv --out out",
        "segment series --out out --bundle ./bundle --grader none",
    ),
    ("segment", 4): ("segment empty --out out", "segment two --out out"),
    ("export", 2): ("export", "export --out out.xlsx", "export --out out.csv --verdict good"),
    ("export", 3): ("export --out out.csv", "export empty --out file/out.csv"),
    ("cohort", 2): ("cohort series", "cohort none --out out/report.html"),
    ("cohort", 3): (
        "cohort empty --out out/report.html",
        "cohort empty --norms none.json",
        "cohort --out out/report.html",
        "cohort --config wrong.toml --out out/report.html",
        "cohort series --series 1.2.3 --out out/report.html",
    ),
    ("user add", 2): ("user add anna", "user add anna --role viewer --config web.toml"),
    ("user add", 3): (
        "user add anna --role viewer --password-file password",
        "user add anna --role viewer --password-file wrong.toml --config web.toml",
        "user add a/b --role viewer --password-file password --config web.toml",
        "user add kept --role viewer --password-file password --config web.toml",
    ),
    ("user remove", 2): ("user remove nobody --config web.toml",),
    ("user remove", 3): ("user remove anna", "user remove anna --config badweb.toml"),
    ("user role", 2): (
        "user role nobody --role viewer --config web.toml",
        "user role kept --role king --config web.toml",
    ),
    ("user role", 3): ("user role anna --role viewer",),
    ("user password", 2): (
        "user password kept --config web.toml",
        "user password nobody --password-file password --config web.toml",
    ),
    ("user password", 3): ("user password kept --password-file wrong.toml --config web.toml",),
    ("user list", 2): ("user list --nothing",),
    ("user list", 3): ("user list", "user list --config badweb.toml"),
    ("token add", 2): (
        "token add t --config web.toml",
        "token add t --role viewer --user nobody --config web.toml",
    ),
    ("token add", 3): (
        "token add t --role viewer",
        "token add t --role viewer --days 0 --config web.toml",
        "token add a/b --role viewer --config web.toml",
    ),
    ("token remove", 2): ("token remove none --config web.toml",),
    ("token remove", 3): ("token remove t",),
    ("token list", 2): ("token list --nothing",),
    ("token list", 3): ("token list", "token list --config badweb.toml"),
    ("phantom", 2): ("phantom out --implant hip",),
    ("phantom", 3): ("phantom file/out --scan small",),
    ("send", 2): ("send {peer} none", "send PACS series", "send PACS@127.0.0.1:99999 series"),
    ("send", 3): ("send PACS series --config wrong.toml",),
    ("send", 4): ("send {peer} file", "send {peer} empty"),
    ("send", 5): ("send {nobody} series",),
    ("send", 6): ("send {peer} report",),
    ("echo", 2): ("echo PACS", "echo PACS@127.0.0.1:0"),
    ("echo", 3): ("echo PACS --config wrong.toml",),
    ("echo", 5): ("echo {nobody}",),
    ("train", 2): ("train recipe.toml",),
    ("train", 3): ("train none.toml --out out", "train wrong.toml --out out"),
    ("bundles", 2): ("bundles --nothing",),
    ("bundles", 3): ("bundles --config wrong.toml", "bundles none", "bundles empty"),
    ("calibrate", 2): ("calibrate bundle none",),
    ("calibrate", 3): ("calibrate none none --data-set x",),
    ("import-nnunet", 2): ("import-nnunet empty", "import-nnunet empty --out out --folds x"),
    ("import-nnunet", 3): ("import-nnunet empty --out out",),
    ("import-keras", 2): ("import-keras file",),
    ("import-keras", 3): ("import-keras file --out out",),
    ("import-musclemap", 2): (
        "import-musclemap file none.json",
        "import-musclemap file --out out",
    ),
    ("import-musclemap", 3): ("import-musclemap file none.json --out out",),
    ("evaluate", 2): ("evaluate empty",),
    ("evaluate", 3): ("evaluate empty --out out",),
    ("demo", 2): ("demo --nothing",),
    ("demo", 3): ("demo --out file/out",),
}
DONE = (
    "user list --config web.toml",
    "token add monitor --role viewer --config web.toml",
    "token list --config web.toml",
    "check",
    "status",
    "status --json",
    "--version",
    "health --alive --config short.toml",
    "metrics",
    "metrics --out metrics.prom",
    "release",
    "backup --out done.tar.zst",
    "backup --verify done.tar.zst",
    "restore done.tar.zst --into restored",
    "find 1.2.3",
    "segment series --out done --bundle ./bundle --samples 1 --device cpu",
    "export done --out done.csv",
    "phantom phantom --scan small",
    "send {peer} series",
    "echo {peer}",
    "rules test series --config rules.toml",
    "audit list --config audited.toml",
    "audit export --out audit.csv --config audited.toml",
    "audit verify --config audited.toml",
)


def write_beats(folder: Path) -> None:
    """Beats of nodes: one whose disk is short, one with a loop that hangs, one that was killed.

    The first two are this process, which is there; the last one is nobody.
    """
    for name in ("short", "frozen", "killed"):
        spool = folder / name
        hearts = [
            Heart(spool, role, node="node", serves=("receive", "work") * (role == SUPERVISE))
            for role in (SUPERVISE, "receive", "work")
        ]
        for heart in hearts:
            if name == "frozen":
                heart.note("watcher", -1e6)
            if name == "killed":
                heart._beat = replace(heart._beat, start="1")
            spool.joinpath(HEARTBEATS).mkdir(parents=True, exist_ok=True)
            heart._write()
        words = f"[node]\nspool = '{name}'\ndatabase = '{name}/db'\n"
        reserve = 1 << 40 if name == "short" else 0
        settings = f"{words}[receive]\nfree_reserve_mb = {reserve}\n[alarms]\nstuck_s = 1e5\n"
        (folder / f"{name}.toml").write_text(settings)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    for name in ("empty", "report", "two"):
        (folder / name).mkdir()
    (folder / "file").write_text("no folder, and no DICOM")
    save(ct_stack(), folder / "series")
    save(ct_stack((0.0, 2.0)), folder / "two")
    report = ct_stack()[0]
    report.SOPClassUID = SR
    save([report], folder / "report")
    write_small_bundle(folder / "bundle")
    (folder / "wrong.toml").write_text("[node]\nae_titel = 'X'\n")
    (folder / "rules.toml").write_text("[[rules]]\nname = 'long'\nlength_mm = {at_least = 9}\n")
    for name in ("audited", "cut"):
        (folder / f"{name}.toml").write_text(f"[audit]\nfile = '{name}/audit.jsonl'\n")
        AuditFile(folder / name / "audit.jsonl").append([{"words": "a"}, {"words": "b"}])
    os.truncate(folder / "cut" / "audit.jsonl", 0)
    hook = f"[alarms.webhook]\nurl = 'http://127.0.0.1:{free_port()}/'\nattempts = 1\n"
    (folder / "told.toml").write_text(hook)
    write_beats(folder)
    (folder / "web.toml").write_text("[web]\n")
    (folder / "badweb.toml").write_text("[web]\nusers = 'file'\ntokens = 'file'\n")
    (folder / "password").write_text("correct horse battery staple\n")
    add_user(folder / "users.toml", "kept", Role.VIEWER, "correct horse battery staple")
    (folder / "garbled.toml").write_text("[node]\ndatabase = 'file'\n")
    with Receiver(ReceiverSettings("CT", folder / "spool", port=0)) as receiver:
        (folder / "taken.toml").write_text(f"[node]\nport = {receiver.port}\n")
        peer, nobody = f"CT@127.0.0.1:{receiver.port}", f"CT@127.0.0.1:{free_port()}"
        (folder / "silent.toml").write_text(f"[node]\nport = {free_port()}\n")
        yield Site(folder, peer, nobody)


def documented() -> set[tuple[str, int]]:
    """Every command and exit code that the table names."""
    found = TABLE.search((ROOT / "docs" / "commands.md").read_text(encoding="utf-8"))
    assert found is not None
    rows = [line.strip("|").split("|") for line in found[1].splitlines()[2:]]
    return {
        (row[0].strip(" `"), code)
        for row in rows
        for code, cell in zip(CODES, row[1:], strict=True)
        if cell.strip() != "—"
    }


def test_the_table_names_what_is_tried_here_and_nothing_else() -> None:
    assert documented() == set(CASES)


@pytest.mark.parametrize(("case", "code"), CASES, ids=str)
def test_a_command_ends_with_the_documented_code_and_says_why(
    case: str, code: int, site: Site
) -> None:
    for words in CASES[case, code]:
        got, said = site.run(words)

        assert (got, "Traceback" in said) == (code, False), f"{words}:\n{said}"
        assert said.strip()


@pytest.mark.parametrize("words", DONE, ids=lambda words: words.split()[0])
def test_a_command_that_has_done_its_work_ends_with_0(words: str, site: Site) -> None:
    code, said = site.run(words)

    assert code == 0, said


Serving = Callable[[str], InstalledNode]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """Starts `msk-node serve` with these words in `[node]`."""
    nodes = []

    def start(words: str) -> InstalledNode:
        settings = tmp_path / f"{len(nodes)}.toml"
        settings.write_text(
            f"[node]\nport = {free_port()}\n{words}\n[receive]\nfree_reserve_mb = 0\n"
        )
        node = InstalledNode(tmp_path, load_config(settings))
        with (tmp_path / f"{len(nodes)}.log").open("wb") as log:
            node.process = subprocess.Popen(
                [MSK_NODE, "serve", "--config", str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **COMMON},
            )
        nodes.append(node)
        return node

    yield start
    for node in nodes:
        node.kill()


@pytest.mark.parametrize(
    "second",
    ["spool = 's'", "database = 'd'", "spool = 's'\ndatabase = 'd'"],
    ids=["on its spool", "on its database", "on both"],
)
def test_a_second_node_is_refused_with_3_and_the_first_ends_with_0_when_told_to(
    second: str, serving: Serving, tmp_path: Path
) -> None:
    """The second ended with 1, and the documents said 3."""
    first = serving("spool = 's'\nwork = 'w'\nresults = 'r'\ndatabase = 'd'")
    wait_until(first.answers, PATIENCE_S, "the first answers")
    refused = serving(second).process
    assert refused is not None
    assert first.process is not None

    assert refused.wait(PATIENCE_S) == 3
    assert f"another node (process {first.process.pid}) uses" in (
        (tmp_path / "1.log").read_text()
    )
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(PATIENCE_S) == 0
