"""A server that checks certificates and tokens as the head of a Ray cluster does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc

from rosenblatt.cluster.probe import CLIENT_SERVICE, HEAD_SERVICE


def serve_head(token: str | None, files: tuple[bytes, bytes, bytes] | None) -> tuple[grpc.Server, int]:
    """Serve on a port of the loopback device; returns the server and its port.

    Args:
        token: that callers need; None: none.
        files: authority, certificate and key, as PEM; None: without TLS.
    """

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            sent = dict(details.invocation_metadata).get("authorization")

            def answer(request, context):
                if token is not None and sent != f"Bearer {token}":
                    context.abort(grpc.StatusCode.UNAUTHENTICATED, "Invalid or missing authentication token")
                return b""

            if details.method not in (HEAD_SERVICE.method, CLIENT_SERVICE.method):
                return None
            return grpc.unary_unary_rpc_method_handler(answer, bytes, bytes)

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Handler()])
    if files is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        ca, certificate, key = files
        identity = grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)
        port = server.add_secure_port("127.0.0.1:0", identity)
    server.start()
    return server, port
