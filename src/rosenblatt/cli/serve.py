"""The command `serve`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from rosenblatt.cli.options import shared_options
from rosenblatt.cli.server_options import Listening, server_options
from rosenblatt.errors import ServingError

if TYPE_CHECKING:
    from rosenblatt.serving.server import Ready, ServerOptions


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@server_options(port=8000)
@click.option("--max-body-mb", default=32.0, show_default=True, type=click.FloatRange(0, 4096, min_open=True),
              help="Size of the largest request, in megabytes.")  # fmt: skip
@click.option("--batch-rows", default=1024, show_default=True, type=click.IntRange(1),
              help="Rows of requests that wait at the same time and are predicted together.")  # fmt: skip
@click.option("--timeout", default=60.0, show_default=True, type=click.FloatRange(0, min_open=True),
              help="Seconds in which a request must be answered.")  # fmt: skip
@click.option("--log", "log_format", type=click.Choice(["text", "json", "none"]), default="text", show_default=True,
              help="Form of the line that is logged for each request, on standard error.")  # fmt: skip
@shared_options("threads", "json")
def serve(models: tuple[str, ...], as_json: bool, log_format: Any, **options: Any) -> None:
    """Serve predictions of models over HTTP.

    A page to try rows by hand is at /, the description of the interface at /openapi.json. A model file that changes is
    loaded again, without a gap. SIGTERM and Ctrl-C finish the requests that run.

    \b
    rosenblatt serve people.rosenblatt
    rosenblatt serve people.rosenblatt cats=photos.rosenblatt --port 9000
    rosenblatt serve people.rosenblatt --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
    curl localhost:8000/predict --json '{"rows": [{"age": 39, "city": "Oslo"}]}'
    """
    try:
        from rosenblatt.serving.log import Log
        from rosenblatt.serving.models import name_models
        from rosenblatt.serving.server import serve as serve_models
    except ModuleNotFoundError as error:
        raise ServingError(
            f"A server needs the library {error.name}. Install it with pip install 'rosenblatt[serve]'."
        ) from None
    paths, server_options = name_models(models), _make_options(**options)
    serve_models(paths, server_options, Log(log_format), lambda ready: _print_ready(ready, as_json))


def _make_options(
    max_body_mb: float, batch_rows: int, timeout: float, threads: int | None, **listening: Any
) -> ServerOptions:
    """The options of the server. Raises ServingError if it would be exposed without protection."""
    from rosenblatt.serving.server import ServerOptions
    from rosenblatt.serving.settings import Limits

    where = Listening(**listening)
    access = where.access()
    if access.token and not where.token_file:
        click.echo(f"token, shown once: {access.token}\nrequests need it: Authorization: Bearer TOKEN", err=True)
    limits = Limits(body_bytes=int(max_body_mb * 1e6), batch_rows=batch_rows, answer_timeout_s=timeout, threads=threads)
    return ServerOptions(where.host, where.port, where.tls_cert, where.tls_key, access, limits)


def _print_ready(ready: Ready, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"address": ready.address, "models": list(ready.models), "pid": ready.pid}))
    else:
        click.echo(f"serving {', '.join(ready.models)} at {ready.address} (Ctrl-C stops)")
