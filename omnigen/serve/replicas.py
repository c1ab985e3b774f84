# SPDX-License-Identifier: Apache-2.0
"""The server as an application of Ray Serve: replicas on many hosts, as many as are asked for.

    serve run omnigen.serve.replicas:app checkpoint=runs/mine replicas=4 gpus=1

A replica is the application of `python -m omnigen.serve` around an engine of its own, which alone
has its accelerator. Replicas share nothing, so what one keeps of a conversation the others lack.
"""

from collections.abc import Mapping
from typing import Any

from absl import flags

from omnigen import cli, extras
from omnigen.serve import settings as settings_
from omnigen.serve.settings import Settings

RAYS_OWN = ("host", "port", "listen")
GPU_ROWS, CPU_ROWS = 64, 8  # requests that a replica is to have at a time, if `rows` is not told


def app(arguments: Mapping[str, Any]) -> Any:
    """Returns the application, as Ray's `serve run` and `serve deploy` want it.

    Args:
        arguments: The flags of `python -m omnigen.serve` by name, but for those of its address;
            `replicas`, the most there may be (1); and `gpus`, of each replica (0).

    Raises:
        MissingExtraError: If Ray or the server's packages are missing.
        ValueError: If an argument is unknown or bad.
    """
    values = settings_.define()
    for name in RAYS_OWN:
        if name in arguments:
            raise ValueError(f"{name} is {arguments[name]!r}; Ray decides where it listens")
    whole = {"flag_values": values, "upper_bound": 1024}
    flags.DEFINE_integer("replicas", 1, "the most replicas", lower_bound=1, **whole)
    flags.DEFINE_integer("gpus", 0, "GPUs of each replica", lower_bound=0, **whole)
    try:
        cli.parse(values, usage="", argv=[f"--{name}={each}" for name, each in arguments.items()])
    except flags.Error as error:
        raise ValueError(str(error)) from None
    settings = settings_.settings(values)
    extras.require("serve", "the server")
    serve = extras.load("ray.serve", "ray", "the application of Ray Serve")
    rows = settings.rows or (GPU_ROWS if values.gpus else CPU_ROWS)
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name="omnigen",
        max_ongoing_requests=rows + settings.queue,
        autoscaling_config={
            "min_replicas": 1,
            "max_replicas": values.replicas,
            "target_ongoing_requests": rows,
        },
        ray_actor_options={"num_gpus": values.gpus},
        graceful_shutdown_timeout_s=settings.limits.drain_s,
    )
    return deployment.bind(settings)


class Replica:
    """One server of several; Ray calls its methods."""

    def __init__(self, settings: Settings) -> None:
        """Loads and compiles the model.

        Raises:
            ValueError: If a file that the settings name is of no use.
        """
        from omnigen.serve import wiring
        from omnigen.serve.api.auth import Keys

        keys = Keys.load(settings.api_key_file) if settings.api_key_file else Keys()
        self._app, self._engine = wiring.application(settings, keys)

    def __serve_build_asgi_app__(self) -> Any:
        """Returns what answers requests."""
        return self._app

    def check_health(self) -> None:
        """Tells Ray whether this replica is of use; Ray starts another if not.

        Raises:
            RuntimeError: If the engine has ended.
        """
        if not self._engine.statistics().is_open:
            raise RuntimeError("the engine has ended")
