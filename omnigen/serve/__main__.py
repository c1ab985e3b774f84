# SPDX-License-Identifier: Apache-2.0
"""The command that serves pictures: OpenAI's API, and a page for people."""

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omnigen import cli, extras, progress
from omnigen.serve import settings as settings_
from omnigen.serve.settings import Settings

if TYPE_CHECKING:
    from omnigen.serve.api.auth import Keys

PROGRAM = "omnigen.serve"
USAGE = """
Serves the shipped model:   python -m omnigen.serve
Serves it to others:        add --listen --api_key_file keys.txt
Serves a model of yours:    add --checkpoint runs/mine

People open http://localhost:7860, and clients of OpenAI use it as
base_url="http://localhost:7860/v1".
"""


@cli.door(PROGRAM)
def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command; see `USAGE`."""
    values = settings_.define()
    with cli.bad_input_exits(PROGRAM):
        cli.parse(values, usage=USAGE, argv=argv)
        settings = settings_.settings(values)
        extras.require("serve", "the server")
        if settings.provenance:
            extras.require("provenance", "signing pictures")
        from omnigen.serve.api.auth import Keys
        from omnigen.serve.api.running import bound

        keys = Keys.load(settings.api_key_file) if settings.api_key_file else Keys()
        opened = bound(settings.host, settings.port)
    with opened:
        with cli.bad_input_exits(PROGRAM):
            serve = _prepared(settings, keys, opened)
        serve()


def _prepared(settings: Settings, keys: "Keys", opened: socket.socket) -> Any:
    """Loads all that is needed; returns what serves until it is told to end.

    Raises:
        ValueError: If a file that the settings name is of no use.
    """
    from omnigen.serve import wiring
    from omnigen.serve.api.running import Server, url

    app, engine = wiring.application(settings, keys)
    server = Server(app, engine, settings.limits)

    def ready() -> None:
        if app.services.provenance is None:
            signing = "pictures do not say who made them: install the extra provenance"
            progress.say(f"{PROGRAM}: warning: {signing}")
        if settings.host != settings_.HOST and settings.api_key_file is None:
            progress.say(f"{PROGRAM}: warning: everybody may draw: there is no --api_key_file")
        progress.say(f"{url(opened)}: ready in {engine.ready_s:.1f} s")

    return lambda: server.run_until_told(opened, ready)


if __name__ == "__main__":
    main()
