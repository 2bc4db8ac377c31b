"""Claims about what a node is deployed with: units, image, compose file, chart."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicom_node.settings.loading import load_config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = ("msk-node.service", "msk-node@.service")
SETTINGS = ("deploy/systemd/node.toml", "deploy/compose/node.toml", "docker/node.toml")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_rates_a_unit_below_two(unit: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian: systemd)")
    path = tmp_path / unit.replace("@", "@work")
    shutil.copy(DEPLOY / "systemd" / unit, path)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", path],
        check=False,
        capture_output=True,
        text=True,
    )
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    if found is None:
        pytest.skip(f"this systemd-analyze rates no file: {done.stderr.strip()}")

    assert float(found[1]) < 2.0


def test_the_service_of_one_role_is_hardened_as_the_service_of_all() -> None:
    one, all_roles = (settings_of(DEPLOY / "systemd" / unit) for unit in UNITS)

    assert one - all_roles == {
        "Description=DICOM node that segments hip-to-knee CT",
        "Conflicts=msk-node.target",
        "ExecStart=/opt/msk-node/current/bin/msk-node serve --config /etc/msk-node/node.toml",
        "WantedBy=multi-user.target",
    }
    assert len(all_roles - one) == 5  # and PartOf


def settings_of(unit: Path) -> set[str]:
    """The lines of a unit that are settings."""
    lines = unit.read_text().splitlines()
    return {line for line in lines if "=" in line and not line.startswith("#")}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_are_shipped_are_valid(name: str) -> None:
    config = load_config(ROOT / name)

    assert config.node.spool == Path("/var/lib/msk-node/spool")
    assert config.logging.format == "json"


def test_every_service_of_the_compose_file_is_pinned_checked_and_on_this_machine_alone(
    compose: dict[str, Any],
) -> None:
    assert set(compose["services"]) == {"node", "database", "orthanc", "prometheus", "grafana"}
    for name, service in compose["services"].items():
        assert service["healthcheck"]["test"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "privileged" not in service, name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        tag = service["image"].removesuffix("}").rpartition(":")[2]
        assert re.fullmatch(r"v?\d+[\w.-]*", tag), f"{name}: {service['image']}"


def test_files_that_the_compose_file_mounts_are_there(compose: dict[str, Any]) -> None:
    mounts = [
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", ())
        if volume.startswith("./compose")
    ]
    assert mounts
    assert all((DEPLOY / mount).exists() for mount in mounts)


def test_secrets_are_files_that_their_script_makes(compose: dict[str, Any]) -> None:
    script = (DEPLOY / "compose-secrets").read_text()
    for secret in compose["secrets"].values():
        name = Path(secret["file"]).name
        assert re.search(rf"secret {re.escape(name)} \d", script), name
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_image_and_chart_are_of_the_version_of_the_program() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    chart = yaml.safe_load((DEPLOY / "helm" / "msk-node" / "Chart.yaml").read_text())

    assert f"ARG VERSION={VERSION}\n" in dockerfile
    assert chart["appVersion"] == VERSION
    assert re.search(r"^USER \d+:\d+$", dockerfile, re.MULTILINE)


def test_the_image_copies_only_what_its_ignore_file_lets_in() -> None:
    let_in = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    copied = {
        word.rstrip("/")
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE)
        for word in line.split()
    }

    assert copied <= let_in


def test_prometheus_of_the_compose_file_calls_the_node_by_a_name_that_it_answers_to() -> None:
    web = load_config(DEPLOY / "compose" / "node.toml").web
    scraping = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())
    (target,) = scraping["scrape_configs"][0]["static_configs"][0]["targets"]

    assert web is not None
    assert target.rpartition(":")[0] in web.site_names
    assert target.endswith(f":{web.port}")


def test_the_chart_renders_and_is_valid_where_helm_is_installed(tmp_path: Path) -> None:
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("helm is not installed")
    chart = str(DEPLOY / "helm" / "msk-node")
    subprocess.run([helm, "lint", "--strict", chart], check=True, capture_output=True)
    for options in ([], ["--set", "gpu.count=1,gpu.runtimeClassName=nvidia"]):
        done = subprocess.run(
            [helm, "template", "t", chart, *options], check=True, capture_output=True, text=True
        )
        objects = [each for each in yaml.safe_load_all(done.stdout) if each]
        pods = [each["spec"]["template"]["spec"] for each in objects if "Set" in each["kind"]]
        settings = next(each for each in objects if each["kind"] == "ConfigMap")
        (tmp_path / "node.toml").write_text(settings["data"]["node.toml"])
        web = load_config(tmp_path / "node.toml").web
        services = [each["metadata"]["name"] for each in objects if each["kind"] == "Service"]
        assert web is not None
        assert web.site_names & set(services)
        assert len(pods) == 2
        for pod in pods:
            assert pod["securityContext"]["runAsNonRoot"] is True
            for container in (*pod["initContainers"], *pod["containers"]):
                assert container["securityContext"]["readOnlyRootFilesystem"] is True
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
