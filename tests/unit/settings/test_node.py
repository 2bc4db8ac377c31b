"""Claims about the settings: what is refused, how it is named, and that all is documented."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from dicom_node.errors import ConfigurationError
from dicom_node.settings.description import describe
from dicom_node.settings.destinations import KINDS, WebDestination
from dicom_node.settings.loading import load_config, parse_config
from dicom_node.settings.node import NodeConfig
from dicom_node.settings.profile import Profile, describe_profile

EXAMPLE = Path(__file__).parents[3] / "docs" / "node.toml"
PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}


def parse(**table: Any) -> NodeConfig:
    return parse_config(table, source="node.toml", folder=Path("/etc/msk"))


def problems(**table: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(**table)
    return str(caught.value).splitlines()


def test_the_defaults_listen_on_this_machine_alone() -> None:
    assert load_config().node.host == "127.0.0.1"


def test_an_unknown_key_is_named_with_its_section() -> None:
    assert problems(node={"aetitle": "X"}) == ["node.toml: node.aetitle: unknown key"]


def test_an_unknown_section_is_named() -> None:
    assert problems(nodes={}) == ["node.toml: nodes: unknown key"]


def test_every_problem_is_listed_at_once() -> None:
    found = problems(
        node={"port": 70000, "ae_title": "far too long a title"},
        analysis={"device": "tpu"},
        destinations=[{**PACS, "port": 0}],
        routes=[{"destinations": ["pacs", "archive"]}],
    )

    assert [line.split(": ")[1] for line in found] == [
        "node.ae_title",
        "node.port",
        "analysis.device",
        "destinations[0].port",
        "routes[0].destinations",
    ]


def test_a_missing_key_of_a_destination_is_named() -> None:
    found = problems(destinations=[{"name": "pacs", "ae_title": "PACS", "host": "h"}])

    assert found == ["node.toml: destinations[0].port: must be given"]


def test_a_route_to_an_unknown_destination_is_refused() -> None:
    found = problems(destinations=[PACS], routes=[{"destinations": ["arcive"]}])

    assert found == ["node.toml: routes[0].destinations: there is no destination 'arcive'"]


def test_two_destinations_of_one_name_are_refused() -> None:
    assert problems(destinations=[PACS, PACS]) == [
        "node.toml: destinations: 2 of them are called 'pacs'"
    ]


@pytest.mark.parametrize("title", ["", " PACS", "A\\B", "SEVENTEENLETTERS1", "AÄ"])
def test_an_ae_title_outside_the_standard_is_refused(title: str) -> None:
    assert "AE title" in problems(node={"ae_title": title})[0]


@pytest.mark.parametrize("host", ["10.1.2", "10.1.2.3/16", "ct 1", "", "a..b", "300.1.1.1"])
def test_a_host_that_is_neither_address_nor_network_nor_name_is_refused(host: str) -> None:
    (problem,) = problems(senders=[{"ae_title": "CT1", "hosts": [host]}])

    assert problem.startswith("node.toml: senders[0].hosts[0]: neither an address")


@pytest.mark.parametrize(
    "host", ["10.1.2.3", "10.1.0.0/16", "fd00::/8", "ct1", "ct-1.example."]
)
def test_a_sender_is_named_with_where_it_calls_from(host: str) -> None:
    config = parse(senders=[{"ae_title": "CT1", "hosts": [host]}, {"hosts": ["::1"]}])

    assert describe(config)[0].endswith(f", to CT1 from {host}, any title from ::1")


def test_a_called_title_selects_other_analysis_settings() -> None:
    config = parse(
        analysis={"samples": 10, "bundle": "mine"},
        pipelines=[
            {"called_ae_title": "STRICT", "partial": "refuse"},
            {"called_ae_title": "OTHER", "bundle": "./other", "samples": 3},
        ],
    )
    usual, strict, other = (
        config.for_called(title).analysis for title in ("MSKNODE", "STRICT", "OTHER")
    )

    assert usual == config.analysis
    assert (strict.partial, strict.samples, strict.bundle) == ("refuse", 10, "mine")
    assert (other.partial, other.samples, other.bundle) == ("report", 3, "/etc/msk/other")
    assert config.bundles == ("mine", "/etc/msk/other")


def test_pipelines_that_cannot_be_told_apart_or_reached_are_refused() -> None:
    strict = {"called_ae_title": "STRICT"}

    assert problems(pipelines=[strict, strict]) == [
        "node.toml: pipelines: 2 of them are for 'STRICT'"
    ]
    assert problems(pipelines=[strict], node={"called_ae_titles": ["MSKNODE"]}) == [
        "node.toml: pipelines: node.called_ae_titles does not let anyone call 'STRICT'"
    ]


def test_a_count_at_an_unknown_destination_is_refused() -> None:
    found = problems(senders=[{"count_at": "arcive"}], destinations=[PACS])

    assert found == ["node.toml: senders[0].count_at: there is no destination 'arcive'"]


def test_a_sender_s_images_are_counted_where_its_entry_says() -> None:
    config = parse(
        senders=[{"ae_title": "CT1"}, {"ae_title": "ARCHIVE", "count_at": "pacs"}],
        destinations=[PACS],
    )

    assert config.count_at("CT1") is None
    assert config.count_at("ARCHIVE") == config.destination("pacs")


@pytest.mark.parametrize(
    "database", ["sqlite://", "sqlite:///:memory:", "mysql://host/db", "a://b://c:x", "q?a"]
)
def test_a_database_that_would_lose_work_is_refused(database: str) -> None:
    assert problems(node={"database": database})[0].startswith("node.toml: node.database: ")


def test_giving_up_before_the_quiet_time_is_refused() -> None:
    assert problems(completion={"quiet_s": 20.0, "give_up_s": 10.0}) == [
        "node.toml: completion: give_up_s is 10.0, less than quiet_s 20.0"
    ]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.toml: cannot be read: No such file"):
        load_config(tmp_path / "absent.toml")


def test_a_file_that_is_not_toml_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("[node]\nport = = 1\n")

    with pytest.raises(ConfigurationError, match=r"not valid TOML.*line 2"):
        load_config(path)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('[node]\nspool = "in"\ndatabase = "q.sqlite"\n')

    node = load_config(path).node

    assert node.spool == tmp_path / "in"
    assert node.database_path == tmp_path / "q.sqlite"


def test_a_bundle_path_is_relative_to_the_file_and_a_bundle_name_is_not() -> None:
    assert parse(analysis={"bundle": "./mine"}).analysis.bundle == "/etc/msk/mine"
    assert parse(analysis={"bundle": "mine"}).analysis.bundle == "mine"


def test_a_server_has_no_database_path() -> None:
    config = parse(node={"database": "postgresql+psycopg://host/msk"})

    assert config.node.database_path is None


def test_settings_survive_the_way_to_a_child_process() -> None:
    config = load_config(EXAMPLE)

    assert NodeConfig.model_validate_json(config.model_dump_json()) == config


def test_without_routes_results_go_to_every_destination() -> None:
    config = parse(destinations=[PACS, {**PACS, "name": "b"}])

    assert [each.name for each in config.destinations_for("CT1", "MSK")] == ["pacs", "b"]


def test_the_first_route_that_fits_decides() -> None:
    config = parse(
        destinations=[PACS, {**PACS, "name": "b"}],
        routes=[
            {"calling_ae_title": "CT1", "called_ae_title": "MSK", "destinations": ["b"]},
            {"calling_ae_title": "CT1", "destinations": ["pacs"]},
        ],
    )

    assert [each.name for each in config.destinations_for("CT1", "MSK")] == ["b"]
    assert [each.name for each in config.destinations_for("CT1", "OTHER")] == ["pacs"]
    assert config.destinations_for("CT2", "MSK") == ()


def test_a_destination_gets_what_the_profile_for_all_says() -> None:
    config = parse(profile={"segmentation": "groups", "report": "both"}, destinations=[PACS])

    assert config.destinations[0].profile == config.profile
    assert config.profile.segmentation == "groups"


def test_a_destination_s_own_profile_changes_single_keys() -> None:
    """Also back to what is the default where no profile is given at all."""
    own = {"segmentation": "binary", "pdf_summary": True}
    config = parse(
        profile={"segmentation": "labelmap", "report": "both"},
        destinations=[{**PACS, "profile": own}, {**PACS, "name": "b"}],
    )
    first, second = (each.profile for each in config.destinations)

    assert (first.segmentation, first.report, first.pdf_summary) == ("binary", "both", True)
    assert (second.segmentation, second.report, second.pdf_summary) == (
        "labelmap",
        "both",
        False,
    )


def test_a_misspelt_key_of_a_destination_s_profile_is_named() -> None:
    found = problems(destinations=[{**PACS, "profile": {"qc_picture": "always"}}])

    assert found == ["node.toml: destinations[0].profile.qc_picture: unknown key"]


def test_the_check_says_what_each_destination_gets() -> None:
    config = parse(
        profile={"qc_image": "always"},
        destinations=[
            {**PACS, "profile": {"segmentation": "labelmap", "uncertainty_map": True}},
            {**PACS, "name": "viewer", "profile": {"report": "key_slice"}},
        ],
    )
    lines = [line for line in describe(config) if " gets " in line]

    label_map = "SEG as label map (SEG where that is not taken)"
    assert lines == [
        f"destination pacs gets {label_map}, SR, QC image, uncertainty map",
        "destination viewer gets SEG, SR on key slices, QC image",
    ]


def test_the_check_names_every_switch_that_a_profile_turns_on() -> None:
    switches = [name for name, field in Profile.model_fields.items() if field.default is False]
    on = describe_profile(Profile.model_validate(dict.fromkeys(switches, True)))

    assert len(switches) == 7
    assert on.startswith("SEG, SR, QC image when not accepted, SEG on even slices, ")
    assert len(on.split(", ")) == 3 + len(switches)
    assert "None" not in on


def test_the_check_says_that_the_database_names_patients() -> None:
    words = "keeps the Patient ID in its table of results"

    assert words in describe(parse(cases={"patient_id": True}))
    assert words not in describe(parse())


def test_the_check_says_where_the_audit_trail_is_and_whom_it_names() -> None:
    syslog = {"host": "logs.example", "tls": {"ca": "ca.pem"}}
    lines = describe(parse(audit={"file": "audit.jsonl", "patient": "id", "syslog": syslog}))

    assert "keeps an audit trail in /etc/msk/audit.jsonl; it holds Patient IDs" in lines
    assert "sends a copy of the audit trail to logs.example:6514 by syslog over TLS" in lines
    assert any("vouched for by /etc/msk/ca.pem" in line for line in lines)
    assert not any("audit" in line for line in describe(parse()))


def test_a_password_in_the_database_url_is_not_described() -> None:
    config = parse(node={"database": "postgresql+psycopg://msk:secret@host/msk"})

    assert "secret" not in "\n".join(describe(config))


def test_the_documented_example_loads() -> None:
    assert load_config(EXAMPLE).destinations[0].name == "pacs"


def test_the_documented_values_are_the_defaults() -> None:
    """The example's senders, archives and so on are examples; the rest is built in."""
    documented = load_config(EXAMPLE)
    examples = (
        "senders",
        "pipelines",
        "destinations",
        "routes",
        "archives",
        "rules",
        "schedules",
    )
    example = documented.model_copy(update=dict.fromkeys(examples, ()))
    defaults = parse_config({}, source="", folder=EXAMPLE.parent)

    assert example == defaults


def sections() -> list[tuple[str, type[BaseModel]]]:
    """Every section of the file with the model that reads it."""
    found = []
    for name, field in NodeConfig.model_fields.items():
        inner = getattr(field.annotation, "__args__", (field.annotation,))[0]
        found.append((name, inner))
    # A destination is of one of several kinds.
    return [each for each in found if each[0] != "destinations"] + [
        ("destinations", kind) for kind in KINDS
    ]


@pytest.mark.parametrize(("section", "model"), sections())
def test_every_setting_is_documented(section: str, model: type[BaseModel]) -> None:
    """A destination's own profile is a table below it, whose keys stand under `profile`."""
    parts = re.split(r"^(?:# )?\[+([\w.]+)\]+$", EXAMPLE.read_text(), flags=re.MULTILINE)
    text = "".join(
        body for name, body in zip(parts[1::2], parts[2::2], strict=True) if name == section
    )
    documented = set(re.findall(r"^(?:# )?(\w+) = ", text, flags=re.MULTILINE))

    below = {name.split(".")[1] for name in parts[1::2] if name.startswith(f"{section}.")}

    expected = {
        name for other, each in sections() if other == section for name in each.model_fields
    }

    assert documented | below == expected
    assert set(model.model_fields) <= expected


@pytest.mark.parametrize(("section", "model"), sections())
def test_every_setting_says_what_it_means(section: str, model: type[BaseModel]) -> None:
    unsaid = [name for name, field in model.model_fields.items() if not field.description]

    assert unsaid == [], section


WEB = {"name": "cloud", "url": "https://archive.example/dicom-web/"}


def test_a_destination_with_a_url_is_a_dicomweb_service() -> None:
    config = parse(destinations=[PACS, WEB], routes=[{"destinations": ["cloud"]}])
    (cloud,) = config.destinations_for("CT1", "MSKNODE")

    assert isinstance(cloud, WebDestination)
    assert cloud.url == "https://archive.example/dicom-web"
    assert "destination cloud: https://archive.example/dicom-web (STOW-RS)" in describe(config)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (
            {"url": "ftp://archive.example"},
            "url: must be http://... or https://... with a host",
        ),
        ({"url": "https://"}, "url: must be http://... or https://... with a host"),
        ({"url": "https://msk:x@archive.example"}, "url: a name or password belongs into"),
        ({"url": "https://archive.example/?key=1"}, "url: must end with its path"),
        ({"url": "https://archive.example:99999"}, "url: not a URL"),
        ({"port": 104}, "port: unknown key"),
        ({"confirm": "commitment"}, "confirm: Input should be 'query' or 'no'"),
        ({"credentials": {"user": "msk"}}, "credentials: give a bearer token or a password"),
        (
            {"credentials": {"user": "msk", "bearer_token_file": "t"}},
            "credentials: user and a password belong together",
        ),
        (
            {"credentials": {"bearer_token_file": "t", "bearer_token_variable": "T"}},
            "credentials: give a bearer token or a password",
        ),
        (
            {"url": "http://archive.example", "credentials": {"bearer_token_file": "t"}},
            "credentials would go in the clear",
        ),
        ({"url": "http://archive.example", "tls": {"ca": "ca.pem"}}, "tls is for an https url"),
        ({"tls": {"fingerprints": ["ab" * 32]}}, "tls.fingerprints are for DICOM destinations"),
    ],
)
def test_a_service_that_could_not_be_called_safely_is_refused_by_its_key(
    changed: dict[str, object], problem: str
) -> None:
    (found,) = problems(destinations=[WEB | changed])

    assert found.startswith("node.toml: destinations[0]")
    assert problem in found


def test_a_sender_s_images_are_not_counted_at_a_dicomweb_service() -> None:
    found = problems(destinations=[WEB], senders=[{"count_at": "cloud"}])

    assert found == [
        "node.toml: senders[0].count_at: 'cloud' has no C-FIND, only DICOMweb",
    ]


def test_the_files_of_a_service_s_secrets_lie_beside_the_settings() -> None:
    config = parse(destinations=[WEB | {"credentials": {"bearer_token_file": "token"}}])
    (cloud,) = config.destinations

    assert isinstance(cloud, WebDestination)
    assert cloud.credentials is not None
    assert cloud.credentials.bearer_token_file == Path("/etc/msk/token")


def test_the_one_worker_of_an_sqlite_file_keeps_its_name() -> None:
    """Work begun under another name would never be taken up."""
    assert parse(node={"name": "b"}).node.executor_id == "worker-0"


def test_nodes_that_share_a_server_go_by_their_names() -> None:
    server = "postgresql://host/msk"

    assert parse(node={"database": server, "name": "b"}).node.executor_id == "b"
    assert parse(node={"database": server}).node.executor_id == socket.gethostname()
