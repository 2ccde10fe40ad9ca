"""The command `ui`."""

from __future__ import annotations

import webbrowser
from threading import Thread
from typing import Any

import click

from rosenblatt.cli.runs import open_store
from rosenblatt.cli.server_options import Listening, server_options
from rosenblatt.errors import ServingError


@click.command()
@click.option(
    "--store",
    metavar="PLACE",
    help="Store of runs: a folder, or postgresql://USER@HOST/DATABASE.  "
    "[default: ROSENBLATT_STORE, else the nearest .rosenblatt/ folder upwards]",
)
@server_options(port=8765)
@click.option("--read-token-file", metavar="FILE", help="File of a second token, of those who may only look.")
@click.option("--no-open", is_flag=True, help="Print the address only, and open no browser.")
def ui(store: str | None, read_token_file: str | None, no_open: bool, **listening: Any) -> None:
    """Show runs in the browser: filter, sort and choose columns, live while they train.

    Only this machine reaches the page, unless --host names another address. Programs on other machines can then
    record runs: rosenblatt.track(store="https://lab1:8765"), with the token in ROSENBLATT_TOKEN. Ctrl-C stops the
    dashboard; runs continue.

    \b
    rosenblatt ui
    rosenblatt ui --store experiments/ --port 9000 --no-open
    rosenblatt ui --host 0.0.0.0 --allow-host lab1 --tls-cert cert.pem --tls-key key.pem
    """
    try:
        from rosenblatt.dashboard.server import DashboardOptions, run_dashboard
    except ModuleNotFoundError as error:
        raise ServingError(
            f"The dashboard needs the library {error.name}. Install it with pip install 'rosenblatt[ui]'."
        ) from None
    where = Listening(**listening)
    access = where.access(read_token_file)

    def announce(address: str) -> None:
        if where.allow_host:  # others know the machine by its name
            address = f"{address.partition('://')[0]}://{where.allow_host[0]}:{address.rpartition(':')[2]}"
        is_new = bool(access.token) and not where.token_file
        link = f"{address}/#token={access.token}" if is_new else address
        click.echo(f"dashboard at {link} (Ctrl-C stops)")
        if is_new:
            click.echo("The address has the token, shown once; programs need it in ROSENBLATT_TOKEN.", err=True)
        if not no_open and access.is_loopback:
            Thread(target=webbrowser.open, args=(link,), daemon=True).start()  # it may wait for the browser

    with open_store(store, create=bool(access.token)) as opened_store:  # programs record in it
        options = DashboardOptions(where.host, where.port, where.tls_cert, where.tls_key, access)
        run_dashboard(opened_store, options, announce)
