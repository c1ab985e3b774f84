# SPDX-License-Identifier: Apache-2.0
"""The manifests of GKE, as kubectl would get them."""

import copy
import json
import math
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from omnigen import topologies

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCHEMA = json.loads((pathlib.Path(__file__).parent / "jobset.schema.json").read_text())
COMMAND = ["python", "-m", "omnigen.train", "--config.train.init_from=a \"b\" 'c' {d: e} $f"]


def rendered(folder: pathlib.Path, manifest: str, *command: str, **variables: str) -> list[Any]:
    """The documents that apply.sh hands to kubectl."""
    (folder / "kubectl").write_text(
        '#!/usr/bin/env bash\n[[ "$*" == "apply -f -" ]] && cat > "$GIVEN"\n'
    )
    (folder / "kubectl").chmod(0o755)
    if not (folder / "python").exists():
        (folder / "python").symlink_to(sys.executable)
    subprocess.run(
        ["bash", str(ROOT / "launch" / "gke" / "apply.sh"), manifest, *command],
        check=True,
        env={
            "PATH": f"{folder}:{os.environ['PATH']}",
            "GIVEN": str(folder / "given"),
            "NAME": "my-run",
            "IMAGE": "registry/omnigen:1",
            **variables,
        },
    )
    return list(yaml.safe_load_all((folder / "given").read_text()))


@pytest.fixture(scope="module")
def jobset(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("gke")
    (found,) = rendered(folder, "jobset.yaml", *COMMAND, TOPOLOGY="v5p-512", SLICES="2")
    return found


def job(jobset: Any) -> Any:
    (replicated,) = jobset["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]


def test_jobset_is_what_the_cluster_understands(jobset: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(jobset, SCHEMA)


def fields(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every field whose name the API fixes."""
    if isinstance(node, dict):
        for key, value in node.items():
            free = path and path[-1] in ("labels", "annotations", "nodeSelector", "limits")
            if not free:
                yield (*path, key)
            yield from fields(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from fields(value, (*path, index))


def test_a_typo_in_any_field_is_caught(jobset: Any) -> None:
    paths = list(fields(jobset))
    assert len(paths) > 50
    for path in paths:
        broken = copy.deepcopy(jobset)
        node = broken
        for key in path[:-1]:
            node = node[key]
        node[path[-1][:-1] + "_"] = node.pop(path[-1])
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "failurePolicy", "maxRestarts"), "four"),
        (("spec", "failurePolicy", "rules", 0, "action"), "Restart"),
        (("spec", "replicatedJobs", 0, "replicas"), 0),
        (("metadata", "name"), "Upper"),
        (("metadata", "name"), "a" * 29),
        (("spec", "replicatedJobs", 0, "template", "spec", "parallelism"), "64"),
    ],
)
def test_a_wrong_value_is_caught(jobset: Any, path: tuple[Any, ...], value: Any) -> None:
    broken = copy.deepcopy(jobset)
    node = broken
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, SCHEMA)


@pytest.mark.parametrize(
    ("topology", "slices"), [("v5e-1", 1), ("v5e-256", 2), ("v5p-512", 4), ("v7x-128", 1)]
)
def test_pods_times_chips_make_the_topology(
    topology: str, slices: int, tmp_path: pathlib.Path
) -> None:
    (found,) = rendered(tmp_path, "jobset.yaml", "true", TOPOLOGY=topology, SLICES=str(slices))
    jsonschema.validate(found, SCHEMA)
    spec = job(found)
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    grid = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
    chips = math.prod(int(side) for side in grid.split("x"))
    assert chips == topologies.find(topology).chips
    assert spec["parallelism"] == spec["completions"]
    assert spec["parallelism"] * container["resources"]["limits"]["google.com/tpu"] == chips
    assert found["spec"]["replicatedJobs"][0]["replicas"] == slices


def test_python_is_the_first_process_and_its_exit_code_decides(jobset: Any) -> None:
    spec = job(jobset)
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == COMMAND
    (rule,) = spec["podFailurePolicy"]["rules"]
    codes = {"containerName": container["name"], "operator": "In", "values": [2]}
    assert rule == {"action": "FailJob", "onExitCodes": codes}
    assert pod["restartPolicy"] == "Never" and spec["backoffLimit"] == 0
    assert pod["terminationGracePeriodSeconds"] >= 60
    policy = jobset["spec"]["failurePolicy"]
    assert policy["maxRestarts"] > 0
    (final,) = policy["rules"]
    assert final["action"] == "FailJobSet"
    assert final["onJobFailureReasons"] == ["PodFailurePolicy"]


def test_volumes_and_variables(jobset: Any) -> None:
    pod = job(jobset)["template"]["spec"]
    (container,) = pod["containers"]
    volumes = {volume.pop("name"): volume for volume in copy.deepcopy(pod["volumes"])}
    mounted = {m["mountPath"]: volumes[m["name"]] for m in container["volumeMounts"]}
    assert mounted == {
        "/dev/shm": {"emptyDir": {"medium": "Memory"}},
        "/shared": {"persistentVolumeClaim": {"claimName": "omnigen"}},
    }
    variables = {pair["name"]: pair["value"] for pair in container["env"]}
    assert variables["OMNIGEN_MULTIHOST"] == "1"
    assert variables["JAX_COORDINATOR_PORT"] == "8476"
    assert "--xla_tpu_enable_data_parallel_all_reduce_opt=true" in variables["LIBTPU_INIT_ARGS"]


def test_the_queue_has_room_for_the_run(jobset: Any, tmp_path: pathlib.Path) -> None:
    flavor, cluster, local = rendered(tmp_path, "kueue.yaml", TOPOLOGY="v5p-512", SLICES="2")
    assert [d["kind"] for d in (flavor, cluster, local)] == [
        "ResourceFlavor",
        "ClusterQueue",
        "LocalQueue",
    ]
    assert jobset["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": local["metadata"]["name"]}
    assert local["spec"]["clusterQueue"] == cluster["metadata"]["name"]
    (group,) = cluster["spec"]["resourceGroups"]
    (used,) = group["flavors"]
    assert used["name"] == flavor["metadata"]["name"]
    assert used["resources"] == [{"name": "google.com/tpu", "nominalQuota": 512}]
    assert flavor["spec"]["nodeLabels"] == job(jobset)["template"]["spec"]["nodeSelector"]
