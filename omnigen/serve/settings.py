# SPDX-License-Identifier: Apache-2.0
"""The settings of a server: one struct, and the flags that make it."""

import dataclasses
import functools
import pathlib

from absl import flags

from omnigen import cli
from omnigen.serve.api.limits import Limits

HOST, EVERYWHERE, PORT = "127.0.0.1", "0.0.0.0", 7860


@dataclasses.dataclass(frozen=True)
class Settings:
    """What an operator decides.

    Attributes:
        host: Address that the server listens on.
        port: Port; 0 takes a free one.
        api_key_file: File with a key on each line; None if none is needed.
        checkpoint: Checkpoint of the model; None for the one that ships.
        rows: Number of pictures that are drawn at a time; by the kind of device if None.
        queue: Number of pictures that may wait.
        provenance: Whether pictures are signed; if the extra is installed, if None.
        anchors: File of certificates that are trusted in pictures that are checked.
        feedback_dir: Folder for what people think of pictures; None keeps nothing.
        decision_dir: Folder for decisions of the policy; None keeps none.
        limits: Bounds of requests.
    """

    host: str = HOST
    port: int = PORT
    api_key_file: pathlib.Path | None = None
    checkpoint: str | None = None
    rows: int | None = None
    queue: int = 32
    provenance: bool | None = None
    anchors: pathlib.Path | None = None
    feedback_dir: pathlib.Path | None = None
    decision_dir: pathlib.Path | None = None
    limits: Limits = Limits()


def define() -> flags.FlagValues:
    """Returns the flags of the door."""
    values = flags.FlagValues()
    integer = functools.partial(flags.DEFINE_integer, flag_values=values)
    path = functools.partial(cli.define_path, values)
    boolean = functools.partial(flags.DEFINE_bool, flag_values=values)
    usual = Settings()
    flags.DEFINE_string("host", HOST, "the address to listen on", flag_values=values)
    integer("port", PORT, "the port; 0 takes a free one", lower_bound=0, upper_bound=65535)
    boolean("listen", False, "listen on all addresses of this machine, so that others can use it")
    path("api_key_file", None, "a file with a key on each line; requests then need one of them")
    path("checkpoint", None, "a workdir or checkpoint folder; the shipped model if not given")
    rows = "how many pictures are drawn at a time; by the kind of device if not given"
    integer("rows", None, rows, lower_bound=1, upper_bound=1024)
    queue = "how many pictures may wait; more are told to come again"
    integer("queue", usual.queue, queue, lower_bound=1, upper_bound=100_000)
    deadline = "seconds until a picture is drawn; what takes longer is given up"
    number = functools.partial(flags.DEFINE_float, flag_values=values)
    number("deadline", usual.limits.deadline_s, deadline, lower_bound=1, upper_bound=86_400)
    asked = "POST requests that each key may make in a minute; any number if not given"
    integer("key_requests", None, asked, lower_bound=1, upper_bound=1_000_000)
    had = "pictures that each key may have in a minute; any number if not given"
    integer("key_pictures", None, had, lower_bound=1, upper_bound=1_000_000)
    provenance = (
        "sign pictures, so that they say who made them; if the extra is installed, if unset"
    )
    boolean("provenance", None, provenance)
    path("anchors", None, "a PEM of certificates to trust in pictures that are checked")
    path("feedback_dir", None, "a folder to keep what people think of pictures in; none if unset")
    path("decision_dir", None, "a folder to keep decisions of the policy in; none if unset")
    return values


def settings(values: flags.FlagValues) -> Settings:
    """Returns what the flags say.

    Raises:
        ValueError: If they contradict each other.
    """
    if values.listen and values["host"].present:
        raise ValueError(f"--listen is --host {EVERYWHERE}; give one of them")
    names = ("api_key_file", "anchors", "feedback_dir", "decision_dir")
    paths = {name: values[name].value for name in names}
    return Settings(
        host=EVERYWHERE if values.listen else values.host,
        port=values.port,
        checkpoint=values.checkpoint,
        rows=values.rows,
        queue=values.queue,
        provenance=values.provenance,
        limits=dataclasses.replace(
            Limits(),
            deadline_s=values.deadline,
            key_requests=values.key_requests,
            key_pictures=values.key_pictures,
        ),
        **{name: None if path is None else pathlib.Path(path) for name, path in paths.items()},
    )
