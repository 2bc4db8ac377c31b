"""A Debian of its own is booted, and msk-node installed there as docs/deployment.md says.

`python tests/trials/deploy_trial.py` (root; `make deploy-trial`). What happens:

1. A Debian tree is made by mmdebstrap, with systemd, Orthanc and DCMTK (kept for next time).
2. A folder of wheels is filled by `pip download` (kept too).
3. The tree is booted by systemd-nspawn in a network that holds nothing but loopback.
4. `deploy/systemd/install WHEELS`; `systemctl enable --now msk-node`; a phantom is sent; its
   results are waited for in Orthanc; the service is reloaded with good settings and with bad
   ones, its worker is killed, it is killed itself, backed up, restarted.
5. The three services of msk-node.target, of which one is stopped.
6. A node restored from the backup, beside: it goes on, and delivers nothing twice.

It prints each step with what it saw, and ends with 1 at the first that is not as claimed.
What it needs beside root: mmdebstrap, systemd-nspawn (systemd-container), unshare, nsenter.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
OUT: Final = Path(
    os.environ.get("DEPLOY_TRIAL_OUT", ROOT / "tests" / "trials" / "out" / "deploy")
)
PACKAGES: Final = (
    "ca-certificates systemd systemd-sysv dbus python3 python3-venv libgomp1 iproute2 procps"
    " orthanc dcmtk curl"
)
NEEDED: Final = ("mmdebstrap", "systemd-nspawn", "nsenter", "unshare", "tar")
BOOT_S: Final = 120.0
ANSWER_S: Final = 900.0
ORTHANC: Final = {
    "StorageDirectory": "/var/lib/orthanc/db-v6",
    "IndexDirectory": "/var/lib/orthanc/db-v6",
    "DicomAet": "PACS",
    "DicomPort": 4242,
    "HttpPort": 8042,
    "RemoteAccessAllowed": False,
    "AuthenticationEnabled": False,
    "DicomAlwaysAllowStore": True,
    "DicomModalities": {"node": ["MSKNODE", "127.0.0.1", 11112]},
}


@dataclass(frozen=True, slots=True)
class Machine:
    """A booted tree, by its first process as the machine outside counts it."""

    folder: Path
    init: int

    def run(self, command: str, *, check: bool = True, quiet: bool = False) -> str:
        """Run a shell command inside, as root; what it says."""
        enter = ["nsenter", "--target", str(self.init), "--all", "--wdns=/root"]
        done = subprocess.run(
            [*enter, "/bin/sh", "-c", command],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        if not quiet:
            say(f"# {command}\n{done.stdout.rstrip()}".rstrip())
        if check and done.returncode != 0:
            raise SystemExit(f"{command}: exit code {done.returncode}\n{done.stdout}")
        return done.stdout

    def wait_for(self, command: str, within_s: float, words: str) -> None:
        """Wait until a shell command succeeds inside."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            enter = ["nsenter", "--target", str(self.init), "--all", "--wdns=/root"]
            done = subprocess.run(
                [*enter, "/bin/sh", "-c", command], check=False, capture_output=True
            )
            if done.returncode == 0:
                say(f"ok: {words}")
                return
            time.sleep(1.0)
        self.run("journalctl --no-pager -n 60 -u 'msk-node*' -o cat", check=False)
        raise SystemExit(f"not within {within_s:.0f} s: {words}")


def say(words: str) -> None:
    """Print, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)  # noqa: T201 - its report


def main() -> int:
    """Do all of it."""
    missing = [each for each in NEEDED if shutil.which(each) is None]
    if os.geteuid() != 0 or missing:
        say(f"skipped: needs root and {', '.join(missing or NEEDED)}")
        return 0
    OUT.mkdir(parents=True, exist_ok=True)
    tree, wheels = debian_tree(), wheelhouse()
    machine_folder = OUT / "machine"
    shutil.rmtree(machine_folder, ignore_errors=True)
    machine_folder.mkdir()
    subprocess.run(["tar", "xf", tree, "-C", machine_folder], check=True)
    furnish(machine_folder, wheels)
    with booted(machine_folder) as machine:
        install(machine)
        one_service(machine)
        three_services(machine)
        restored_node(machine)
    say("all as claimed")
    return 0


def debian_tree() -> Path:
    """The tree, made once."""
    tree = OUT / "debian.tar"
    if not tree.exists():
        say("making a Debian tree")
        part = OUT / "debian.part.tar"
        words = ["--variant=minbase", f"--include={PACKAGES.replace(' ', ',')}", "bookworm"]
        subprocess.run(["mmdebstrap", *words, str(part)], check=True)
        part.rename(tree)
    return tree


def wheelhouse() -> Path:
    """The wheels: this checkout's, built now, and all that it needs, fetched once."""
    wheels = OUT / "wheels"
    wheels.mkdir(exist_ok=True)
    pip = [sys.executable, "-m", "pip"]
    for old in wheels.glob("msk_node-*.whl"):
        old.unlink()
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", wheels, ROOT], check=True)
    wanted = b"".join(
        (ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")
    )
    stamp = OUT / f"wheels-{hashlib.sha256(wanted).hexdigest()[:16]}"
    if not stamp.exists():
        wheel = next(wheels.glob("msk_node-*.whl"))
        download = [*pip, "download", "-q", "-c", str(ROOT / "constraints.txt")]
        subprocess.run([*download, "-d", str(wheels), "torch", str(wheel)], check=True)
        stamp.touch()
    say(f"{len(list(wheels.iterdir()))} wheels")
    return wheels


def furnish(folder: Path, wheels: Path) -> None:
    """Put in what an administrator brings: the wheels, deploy/, and Orthanc's settings."""
    (folder / "root" / "wheels").mkdir()
    for wheel in wheels.iterdir():
        os.link(wheel, folder / "root" / "wheels" / wheel.name)
    shutil.copytree(ROOT / "deploy", folder / "root" / "deploy")
    (folder / "etc" / "orthanc" / "orthanc.json").write_text(json.dumps(ORTHANC))
    (folder / "etc" / "resolv.conf").unlink(missing_ok=True)
    (folder / "etc" / "resolv.conf").write_text("")  # no name is known here


@contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """Boot the tree with a network of its own that holds loopback alone."""
    console = (OUT / "console.log").open("wb")
    words = ["--register=no", "--keep-unit", "--private-network", "--resolv-conf=off"]
    process = subprocess.Popen(
        ["systemd-nspawn", *words, "--directory", str(folder), "--boot"],
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=console,
        start_new_session=True,
    )
    try:
        machine = Machine(folder, first_process(process.pid))
        machine.wait_for(
            "systemctl is-system-running | grep -Eq 'running|degraded'",
            BOOT_S,
            "Debian has booted",
        )
        machine.run("ip -brief address; uname -r; . /etc/os-release; echo $PRETTY_NAME")
        yield machine
    finally:
        process.terminate()  # it shuts the tree down
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
        console.close()


def first_process(nspawn: int) -> int:
    """The tree's process 1: the child of systemd-nspawn's child."""
    children = Path(f"/proc/{nspawn}/task/{nspawn}/children")
    until = time.monotonic() + 30.0
    while time.monotonic() < until:
        for pid in children.read_text().split():
            status = Path(f"/proc/{pid}/status").read_text()
            if status.startswith("Name:\tsystemd\n"):
                return int(pid)
        time.sleep(0.2)
    raise SystemExit("systemd-nspawn did not boot the tree; see console.log")


def install(machine: Machine) -> None:
    """The documented steps, with no network."""
    machine.run("! curl --silent --max-time 3 https://example.org", quiet=True)
    machine.run("/root/deploy/systemd/install /root/wheels")
    # Fewer samples than the bundle asks for: this is about the way, not about the numbers.
    machine.run(f"printf '{MORE_SETTINGS}' >> /etc/msk-node/node.toml")
    machine.run("msk-node check --config /etc/msk-node/node.toml")
    security(machine)


def security(machine: Machine) -> None:
    """Every unit is rated below 2.0, by the systemd that runs them."""
    for unit in ("msk-node.service", "msk-node@receive.service"):
        words = machine.run(f"systemd-analyze security --no-pager {unit} | tail -1")
        level = float(words.split(":")[1].split()[0])
        if level >= 2.0:
            raise SystemExit(f"{unit}: exposure {level}")


def one_service(machine: Machine) -> None:
    """msk-node.service: answers a phantom, reloads, is killed in parts, restarts."""
    machine.run("systemctl reset-failed orthanc; systemctl restart orthanc", check=False)
    machine.run("echo secret > /etc/msk-node/secrets/pacs-password")
    machine.run("systemctl enable --now msk-node")
    machine.wait_for(f"{ECHO}", 120, "the node answers C-ECHO")
    machine.run(
        "ls -l /run/credentials/msk-node.service/; systemctl show -p User,MainPID msk-node"
    )
    machine.run("ps -o user,pid,rss,args -u msk-node")
    started = time.monotonic()
    machine.run(
        "msk-node phantom /root/phantom --scan small >/dev/null && msk-node send "
        "MSKNODE@127.0.0.1:11112 /root/phantom/series | tail -1"
    )
    machine.wait_for(f"{IN_ORTHANC} -ge 2", ANSWER_S, "segmentation and report are in Orthanc")
    say(f"the phantom was answered {time.monotonic() - started:.0f} s after it was begun")
    machine.run(
        "curl -s http://127.0.0.1:8042/series?expand | "
        "grep -E '\"(Modality|SeriesDescription)\"' | sort | uniq -c"
    )
    machine.run("msk-node status --config /etc/msk-node/node.toml")
    machine.wait_for(HEALTHY, 60, "it says that it is healthy")
    machine.run("curl -s http://127.0.0.1:8080/metrics | grep -E '^msk_' | head -5 | grep .")
    reloads(machine)
    kills(machine)
    machine.run(
        "msk-node backup --config /etc/msk-node/node.toml --out /root/node.tar.zst"
        " && msk-node backup --verify /root/node.tar.zst && ls -l /root/node.tar.zst"
    )
    machine.run("systemctl restart msk-node")
    machine.wait_for(ECHO, 120, "it answers after a restart")
    machine.run("journalctl --no-pager -u msk-node -o cat | cut -c1-160 | tail -n 12")
    machine.run(
        "systemctl disable --now msk-node; systemctl show -p Result,ExecMainStatus msk-node"
    )


def reloads(machine: Machine) -> None:
    """The process goes on with new settings, and with the former ones where those are bad."""
    before = main_pid(machine)
    machine.run("sed -i 's/^samples = 2$/samples = 3/' /etc/msk-node/node.toml")
    machine.run(
        "systemctl reload msk-node && journalctl -u msk-node -n 12 -o cat | cut -c1-200"
    )
    machine.run(f"{JOURNAL} | grep settings.reloaded | grep -q analysis.samples", quiet=True)
    machine.run("cp -p /etc/msk-node/node.toml /root/node.toml")
    machine.run("echo 'simples = 1' >> /etc/msk-node/node.toml; ! systemctl reload msk-node")
    machine.run(f"{JOURNAL} | grep simples | tail -2 | cut -c1-200 | grep .")
    machine.run("cp -p /root/node.toml /etc/msk-node/node.toml; systemctl reload msk-node")
    machine.run(f"systemctl is-active -q msk-node && {ECHO}")
    after = main_pid(machine)
    if not before.isdigit() or after != before:
        raise SystemExit(f"after the reloads process {before} is {after}")
    say(f"ok: three reloads, one of them refused, and process {after} is the same")


def kills(machine: Machine) -> None:
    """A worker that is killed is started by the node, the node by systemd."""
    worker = machine.run(f"{WORKER}", quiet=True).strip()
    machine.run(f"kill -KILL {worker}")
    machine.wait_for(
        f"pid=$({WORKER}) && test -n $pid && test $pid != {worker}",
        60,
        f"a killed worker ({worker}) is started again",
    )
    machine.wait_for(HEALTHY, 120, "and the node is healthy")
    before = main_pid(machine)
    machine.run("systemctl kill --signal=SIGKILL --kill-whom=main msk-node", quiet=True)
    machine.wait_for(
        f"sleep 2; systemctl is-active -q msk-node && {ECHO}",
        120,
        f"a killed node ({before}) is started again by systemd",
    )
    say(f"its process is {main_pid(machine)}")
    machine.wait_for(HEALTHY, 120, "and healthy")


def main_pid(machine: Machine) -> str:
    """The process of the service."""
    return machine.run("systemctl show -p MainPID --value msk-node", quiet=True).strip()


def three_services(machine: Machine) -> None:
    """msk-node.target: the roles as services, on the same data."""
    machine.run("systemctl enable --now msk-node.target")
    machine.wait_for(ECHO, 120, "the receiver answers C-ECHO")
    machine.run("systemctl --no-pager --no-legend list-units 'msk-node*'", check=False)
    machine.run("systemctl stop msk-node@work")
    machine.run(ECHO, quiet=True)
    say("the receiver answers while the worker is stopped")
    machine.run(
        "systemctl start msk-node@work && systemctl disable --now msk-node.target"
        " && systemctl stop 'msk-node@*'"
    )


def restored_node(machine: Machine) -> None:
    """What was backed up runs from another folder, and sends nothing that has been sent."""
    machine.run(
        "install -d -o msk-node -g msk-node /var/lib/msk-node-2 && msk-node restore "
        "/root/node.tar.zst --into /var/lib/msk-node-2 && ls -ln /var/lib/msk-node-2"
    )
    before = machine.run(f"{DELIVERIES} /var/lib/msk-node/node.sqlite")
    machine.run(
        "systemd-run --quiet --unit=restored --uid=msk-node --gid=msk-node"
        f" msk-node serve --config {RESTORED}"
    )
    machine.wait_for(ECHO, 120, "the restored node answers C-ECHO")
    machine.wait_for(f"msk-node health --config {RESTORED}", 120, "and is healthy")
    machine.run(f"msk-node status --config {RESTORED}")
    if machine.run(f"{DELIVERIES} /var/lib/msk-node-2/node.sqlite", quiet=True) != before:
        raise SystemExit("the restored node has delivered what was delivered before")
    say("ok: it has sent nothing again")
    machine.run("systemctl stop restored")


MORE_SETTINGS: Final = (
    r'\n[web]\nusers = "/var/lib/msk-node/users.toml"\n\n[analysis]\nsamples = 2\n'
)
RESTORED: Final = "/var/lib/msk-node-2/node.toml"
HEALTHY: Final = "msk-node health --config /etc/msk-node/node.toml"
JOURNAL: Final = "journalctl --no-pager -u msk-node -o cat"
WORKER: Final = "pgrep -u msk-node -f 'roles work' | head -1"
DELIVERIES: Final = (
    "/opt/msk-node/current/bin/python -c 'import sqlite3, sys;"
    ' print(*sqlite3.connect(sys.argv[1]).execute("SELECT destination, sop_instance_uid,'
    " state, attempts, sent_at FROM deliveries ORDER BY 1, 2\"), sep=chr(10))'"
)
ECHO: Final = "echoscu --call MSKNODE 127.0.0.1 11112"
IN_ORTHANC: Final = (
    'test $(curl -s http://127.0.0.1:8042/series?expand | grep -cE \'"Modality" : "(SEG|SR)"\')'
)


if __name__ == "__main__":
    sys.exit(main())
