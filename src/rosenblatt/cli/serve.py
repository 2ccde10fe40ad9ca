"""The command `serve`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from rosenblatt.cli.options import shared_options
from rosenblatt.errors import ServingError

if TYPE_CHECKING:
    from rosenblatt.serving.server import Ready, ServerOptions


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="Address to listen on. Others than this machine's own need a token and TLS.")  # fmt: skip
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 for a free one.")
@click.option(
    "--token-file",
    metavar="FILE",
    help="File of the token that requests must carry.  [default: a new token, unless the host is loopback]",
)
@click.option("--tls-cert", metavar="FILE.pem", help="TLS certificate with its chain.")
@click.option("--tls-key", metavar="FILE.pem", help="Private key of the certificate.")
@click.option(
    "--insecure-no-tls",
    is_flag=True,
    help="Listen on other addresses without TLS, because a proxy in front of the server encrypts.",
)
@click.option(
    "--allow-host",
    multiple=True,
    metavar="NAME",
    help="Name by which requests may address the server, such as that of a proxy. Repeat it for several.",
)
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
    host: str, port: int, token_file: str | None, tls_cert: str | None, tls_key: str | None, **others: Any
) -> ServerOptions:
    """The options of the server. Raises ServingError if it would be exposed without protection."""
    from rosenblatt.serving.server import ServerOptions, check_exposure
    from rosenblatt.serving.settings import Limits
    from rosenblatt.web.access import Access, is_loopback, make_token, read_token

    token = read_token(token_file) if token_file else ""
    names = frozenset(name.lower() for name in others["allow_host"])
    limits = Limits(
        body_bytes=int(others["max_body_mb"] * 1e6), batch_rows=others["batch_rows"],
        answer_timeout_s=others["timeout"], threads=others["threads"],
    )  # fmt: skip
    options = ServerOptions(host, port, tls_cert, tls_key, limits=limits)
    check_exposure(options, is_plain_allowed=others["insecure_no_tls"])
    if not token and not is_loopback(host):
        token = make_token()
        click.echo(f"token, shown once: {token}\nrequests need it: Authorization: Bearer TOKEN", err=True)
    access = Access(token, is_loopback(host), names)
    return ServerOptions(host, port, tls_cert, tls_key, access, limits)


def _print_ready(ready: Ready, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"address": ready.address, "models": list(ready.models), "pid": ready.pid}))
    else:
        click.echo(f"serving {', '.join(ready.models)} at {ready.address} (Ctrl-C stops)")
