"""The configuration file, and the tracking stores that it names."""

import http.client
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.config import check_file, load_experiment
from orchestrator.doctor.finding import Finding, fail, ok, warn
from orchestrator.doctor.stores import check_mlflow
from orchestrator.errors import ConfigError
from orchestrator.storage.layout import Root

_DEFAULT = Path("experiments.yaml")
_WAIT_S = 3.0
_SQLITE = "sqlite:///"


def check_configuration(path: Path | None, root: Root) -> Iterator[Finding]:
    """Validate the configuration, and try the tracking stores that it names besides that of the root.

    Args:
        path: The file; None: `experiments.yaml`, which need not be there.
        root: The root whose store is looked at already.
    """
    file = path or _DEFAULT
    if path is None and not file.exists():
        yield warn("configuration", f"there is no {file} here", "name the configuration with -c/--config")
        return
    try:
        names = check_file(file)
    except ConfigError as error:
        yield fail("configuration", error.message, error.hint)
        return
    yield ok("configuration", f"{file}: {len(names)} experiments are valid: {', '.join(names)}")
    uris = (load_experiment(name, file).tracking.mlflow_uri for name in names)
    for uri in dict.fromkeys(uri for uri in uris if uri and uri != root.mlflow_uri):
        yield _check_store(uri)


def _check_store(uri: str) -> Finding:
    if uri.startswith(_SQLITE):
        return check_mlflow(Path(uri.removeprefix(_SQLITE)).resolve(), check="tracking")
    if not uri.startswith(("http://", "https://")):
        return ok("tracking", f"{uri}: not tried")
    try:
        status = _ask(uri)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return warn(
            "tracking",
            f"{uri} does not answer: {error}",
            "start the server, or correct tracking.mlflow_uri: a sweep needs it",
        )
    return ok("tracking", f"{uri} answers ({status})")


def _ask(uri: str) -> int:
    """Ask a tracking server whether it is there; any answer is one."""
    address = urlsplit(uri)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=_WAIT_S)
    try:
        connection.request("GET", f"{address.path.rstrip('/')}/health")
        return connection.getresponse().status
    finally:
        connection.close()
