"""The command `ui`."""

from __future__ import annotations

import webbrowser
from threading import Thread

import click

from rosenblatt.cli.runs import open_store
from rosenblatt.errors import ServingError


@click.command()
@click.option(
    "--store",
    metavar="PLACE",
    help="Store of runs: a folder, or postgresql://USER@HOST/DATABASE.  "
    "[default: ROSENBLATT_STORE, else the nearest .rosenblatt/ folder upwards]",
)
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 for a free one.")
@click.option("--no-open", is_flag=True, help="Print the address only, and open no browser.")
def ui(store: str | None, port: int, no_open: bool) -> None:
    """Show runs in the browser: filter, sort and choose columns, live while they train.

    The page listens on this machine only (127.0.0.1). Ctrl-C stops it; runs continue.

    \b
    rosenblatt ui
    rosenblatt ui --store experiments/ --port 9000 --no-open
    """
    try:
        from rosenblatt.dashboard.server import run_dashboard
    except ModuleNotFoundError as error:
        raise ServingError(
            f"The dashboard needs the library {error.name}. Install it with pip install 'rosenblatt[ui]'."
        ) from None

    def announce(address: str) -> None:
        click.echo(f"dashboard at {address} (Ctrl-C stops)")
        if not no_open:
            Thread(target=webbrowser.open, args=(address,), daemon=True).start()  # it may wait for the browser

    with open_store(store) as opened_store:
        run_dashboard(opened_store, port, announce)
