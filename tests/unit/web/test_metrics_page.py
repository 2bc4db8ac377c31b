"""Claims about `/metrics`: who may read it, and that nobody needs a worker for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.web_client import TestClient, logged_in, web_config

from dicom_node.web.app import web_app

HOST = "http://localhost:8080"


def status(
    folder: Path, address: str, headers: dict[str, str] | None = None, **metrics: object
) -> int:
    config = web_config(folder, {"metrics": metrics} if metrics else None)
    client = TestClient(
        web_app(config), base_url=HOST, client=(address, 50000), follow_redirects=False
    )
    return int(client.get("/metrics", headers=headers).status_code)


def test_this_machine_reads_metrics_without_a_token(tmp_path: Path) -> None:
    config = web_config(tmp_path)
    client = TestClient(web_app(config), base_url=HOST, client=("127.0.0.1", 50000))
    answer = client.get("/metrics")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "msk_node_build_info{" in answer.text


@pytest.mark.parametrize("address", ["192.0.2.7", "10.0.0.1", "2001:db8::1", "testclient", ""])
def test_others_do_not(tmp_path: Path, address: str) -> None:
    assert status(tmp_path, address) in (303, 401, 403)


def test_a_network_that_the_settings_name_does(tmp_path: Path) -> None:
    assert status(tmp_path, "10.1.2.3", allowed=["10.0.0.0/8"]) == 200
    assert status(tmp_path, "127.0.0.1", allowed=["10.0.0.0/8"]) in (303, 401, 403)
    assert status(tmp_path, "::ffff:10.1.2.3", allowed=["10.0.0.0/8"]) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"},
        {"x-real-ip": "127.0.0.1"},
        {"via": "1.1 proxy"},
    ],
    ids=["x-forwarded-for", "forwarded", "x-real-ip", "via"],
)
def test_what_an_unknown_proxy_on_this_machine_passes_on_is_not_from_this_machine(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    assert status(tmp_path, "127.0.0.1", headers) in (303, 401, 403)


def test_a_wrong_token_is_refused_even_from_this_machine(tmp_path: Path) -> None:
    assert status(tmp_path, "127.0.0.1", {"authorization": "Bearer wrong"}) == 401


def test_whoever_reads_metrics_may_read_nothing_else(tmp_path: Path) -> None:
    config = web_config(tmp_path)
    client = TestClient(
        web_app(config), base_url=HOST, client=("127.0.0.1", 5), follow_redirects=False
    )

    assert client.get("/metrics/").status_code != 200
    assert client.get("/metrics/../logout").status_code != 200
    assert client.post("/metrics").status_code in (303, 401, 403, 405)


def test_a_user_who_is_logged_in_reads_them_from_anywhere(tmp_path: Path) -> None:
    config = web_config(tmp_path, {"metrics": {"allowed": []}})

    assert logged_in(config).get("/metrics").status_code == 200
