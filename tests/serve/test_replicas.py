# SPDX-License-Identifier: Apache-2.0
"""The application of Ray Serve: what Ray is told, and with Ray itself, what a client gets."""

import os
import pathlib
import subprocess
import sys
import time
import types

import fakes
import pytest

from omnigen import extras
from omnigen.serve import engine, replicas
from omnigen.serve.settings import Settings

ROOT = pathlib.Path(__file__).parents[2]


class Recorder:
    """Stands for `ray.serve`; keeps what it is told."""

    def __init__(self) -> None:
        self.options: dict[str, object] = {}

    def ingress(self):
        return lambda cls: cls

    def deployment(self, cls, **options):
        self.options = {"class": cls, **options}
        return types.SimpleNamespace(bind=lambda settings: settings)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    load = extras.load
    monkeypatch.setattr(
        extras, "load", lambda name, *rest: recorder if name == "ray.serve" else load(name, *rest)
    )
    return recorder


def test_ray_is_told_how_many_replicas_and_requests_there_may_be(ray: Recorder) -> None:
    bound = replicas.app({"checkpoint": "runs/mine", "rows": "4", "queue": 6, "replicas": 3})
    assert bound == Settings(checkpoint="runs/mine", rows=4, queue=6)
    assert ray.options == {
        "class": replicas.Replica,
        "name": "omnigen",
        "max_ongoing_requests": 10,
        "autoscaling_config": {
            "min_replicas": 1,
            "max_replicas": 3,
            "target_ongoing_requests": 4,
        },
        "ray_actor_options": {"num_gpus": 0},
        "graceful_shutdown_timeout_s": 25.0,
    }
    assert replicas.app({}) == Settings()
    assert ray.options["max_ongoing_requests"] == 8 + 32
    replicas.app({"gpus": 2})
    assert ray.options["ray_actor_options"] == {"num_gpus": 2}
    assert ray.options["max_ongoing_requests"] == 64 + 32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"port": 80}, "port is 80; Ray decides where it listens"),
        ({"listen": True}, "listen is True; Ray decides where it listens"),
        ({"chekpoint": "x"}, "unknown flag --chekpoint; did you mean --checkpoint?"),
        ({"replicas": 0}, "flag --replicas=0"),
        ({"rows": "many"}, "flag --rows=many"),
    ],
)
def test_bad_arguments_are_named(ray: Recorder, arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        replicas.app(arguments)
    assert not ray.options


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(extras.MissingExtraError, match=r"omnigen-jax\[ray\]"):
        replicas.app({})


def test_a_replica_is_healthy_as_long_as_its_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.Engine, "load", lambda *_, **__: fakes.FakeEngine())
    replica = replicas.Replica(Settings(provenance=False))
    paths = {route.path for route in replica.__serve_build_asgi_app__().routes}
    assert {"/", "/v1/images/generations", "/v1/feedback"} <= paths
    replica.check_health()
    monkeypatch.setattr(
        fakes.FakeEngine, "statistics", lambda self: types.SimpleNamespace(is_open=False)
    )
    with pytest.raises(RuntimeError, match="the engine has ended"):
        replica.check_health()


@pytest.mark.slow
def test_a_client_gets_a_picture_from_ray(tmp_path: pathlib.Path) -> None:
    """Half a minute, and as many processes as Ray has."""
    pytest.importorskip("ray.serve")
    openai = pytest.importorskip("openai")
    command = pathlib.Path(sys.executable).with_name("serve")
    env = os.environ | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    argv = [str(command), "run", "omnigen.serve.replicas:app", "rows=1"]
    with (tmp_path / "log").open("w") as log:
        ray = subprocess.Popen(argv, cwd=tmp_path, env=env, stdout=log, stderr=log)
    try:
        client = openai.OpenAI(
            base_url="http://localhost:8000/v1", api_key="none", max_retries=0, timeout=60
        )
        until = time.monotonic() + 120
        while True:
            try:
                (model,) = client.models.list()
                break
            except openai.APIError:
                assert ray.poll() is None and time.monotonic() < until
                time.sleep(0.5)
        assert model.id == "omnigen-nano"
        asked = {"model": model.id, "prompt": "a red circle", "extra_body": {"seed": 7}}
        first, second = (client.images.generate(**asked).data[0].b64_json for _ in range(2))
        assert first.startswith("iVBOR")
        stream = client.images.generate(**asked, stream=True, partial_images=1)
        *_, last = stream
        assert last.type == "image_generation.completed"
        # Signatures have times of their own, so the pictures are what is compared.
        assert len({pixels(each) for each in (first, second, last.b64_json)}) == 1
    finally:
        ray.terminate()
        ray.wait(60)


def pixels(encoded: str) -> bytes:
    import base64
    import io

    from PIL import Image

    return Image.open(io.BytesIO(base64.b64decode(encoded))).tobytes()
