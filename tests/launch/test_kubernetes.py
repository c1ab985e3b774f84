# SPDX-License-Identifier: Apache-2.0
"""The manifest of servers, against the server that it starts."""

import ast
import pathlib
from typing import Any

import pytest
import yaml

from omnigen import cli
from omnigen.serve import settings
from omnigen.serve.api import metrics

pytest.importorskip("starlette")

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "launch" / "kubernetes" / "serve.yaml").read_text(encoding="utf-8")
DOCUMENTS = {found["kind"]: found for found in yaml.safe_load_all(TEXT)}
POD = DOCUMENTS["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]


def parsed() -> settings.Settings:
    python, flag, module, *argv = CONTAINER["command"]
    assert (python, flag, module) == ("python", "-m", "omnigen.serve")
    values = settings.define()
    cli.parse(values, usage="", argv=argv)
    return settings.settings(values)


def test_the_server_takes_its_flags() -> None:
    found = parsed()
    assert (found.host, found.port) == (settings.EVERYWHERE, 7860)
    assert CONTAINER["ports"] == [{"name": "http", "containerPort": found.port}]
    (port,) = DOCUMENTS["Service"]["spec"]["ports"]
    assert port["targetPort"] == "http"


def test_keys_come_from_the_secret() -> None:
    mounts = {mount["name"]: mount for mount in CONTAINER["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    assert volumes.keys() == mounts.keys()
    assert "secret" in volumes["keys"] and mounts["keys"]["readOnly"]
    key_file = parsed().api_key_file
    assert key_file is not None and str(key_file.parent) == mounts["keys"]["mountPath"]
    (cache,) = [each["value"] for each in CONTAINER["env"] if each["name"] == "OMNIGEN_CACHE"]
    assert cache == mounts["cache"]["mountPath"]


def test_probes_ask_what_is_open_to_them() -> None:
    """Only /health is open, so readiness brings the key of the file that the server reads."""
    for name in ("startupProbe", "livenessProbe"):
        assert CONTAINER[name]["httpGet"] == {"path": "/health", "port": "http"}
    *python, program = CONTAINER["readinessProbe"]["exec"]["command"]
    assert python == ["python", "-c"]
    written = {n.value for n in ast.walk(ast.parse(program)) if isinstance(n, ast.Constant)}
    assert {f"http://127.0.0.1:{parsed().port}/ready", str(parsed().api_key_file)} <= written


def test_pods_have_the_time_that_the_server_takes_to_end() -> None:
    assert POD["terminationGracePeriodSeconds"] >= 30 + 5


def test_the_autoscaler_follows_a_metric_that_there_is() -> None:
    (found,) = DOCUMENTS["HorizontalPodAutoscaler"]["spec"]["metrics"]
    name = found["pods"]["metric"]["name"]
    kinds = {f"omnigen_engine_{each}": kind for each, kind, _ in metrics._ENGINE}
    assert kinds[name] == "gauge"
    assert int(found["pods"]["target"]["averageValue"]) < parsed().queue


def test_all_of_them_mean_the_same_pods() -> None:
    labels: Any = DOCUMENTS["Deployment"]["spec"]["selector"]["matchLabels"]
    assert DOCUMENTS["Deployment"]["spec"]["template"]["metadata"]["labels"] == labels
    assert DOCUMENTS["Service"]["spec"]["selector"] == labels
    assert DOCUMENTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    target = DOCUMENTS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "omnigen")


def test_the_image_of_the_head_has_what_the_server_needs() -> None:
    head = TEXT.split("apiVersion", 1)[0]
    (extras,) = [word for word in head.split() if word.startswith("EXTRAS=")]
    assert {"serve", "cuda"} <= {*extras.removeprefix("EXTRAS=").split(",")}
    assert "OMNIGEN_IMAGE" in head and CONTAINER["image"] == "OMNIGEN_IMAGE"
