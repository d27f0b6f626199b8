"""TensorBoard that answers to the names of its machine only: any other page could read it through a browser.

`python -m orchestrator.tracking.tensorboard_server HOSTS ...`: patterns of `Host` headers, separated by commas, and
then TensorBoard's own arguments. TensorBoard itself has no such option.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from orchestrator.machine.hosts import is_allowed

_REFUSED = b"this name is none of those that this TensorBoard answers to: start it with --allowed-hosts NAME\n"
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
"""A WSGI application."""


def guard_hosts(app: App, hosts: Sequence[str]) -> App:
    """Answer 403 where the `Host` header is none of `hosts`, and as `app` else."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if is_allowed(environ.get("HTTP_HOST", ""), hosts):
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain"), ("Content-Length", str(len(_REFUSED)))])
        return [_REFUSED]

    return answer


def serve(hosts: Sequence[str], arguments: Sequence[str]) -> int:
    """Serve until this process is ended; returns its exit code."""
    from tensorboard import default, main_lib, program  # not before: `guard_hosts` needs none of them

    main_lib.global_init()

    def build_server(app: App, flags: Any) -> Any:
        return program.WerkzeugServer(guard_hosts(app, hosts), flags)

    server = program.TensorBoard(plugins=default.get_plugins(), server_class=build_server)
    server.configure(["tensorboard", *arguments])
    return int(server.main())


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1].split(","), sys.argv[2:]))
