"""The MLflow store: opened once, with its own errors translated at this one place."""

import glob
import json
import logging
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import ErrorCode
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.exc import SQLAlchemyError

from orchestrator import names
from orchestrator.errors import NotFoundError, OrchestratorError, SetupError, SweepError
from orchestrator.masking import mask_credentials
from orchestrator.storage.databases import MLFLOW
from orchestrator.storage.files import sync_folder
from orchestrator.storage.identity import Identity, take_identity
from orchestrator.storage.layout import Root, safe_name
from orchestrator.storage.troubles import hint_at_cause
from orchestrator.tracking.mlflow.database import (
    find_file,
    holding_others_off,
    is_database,
    is_initialised,
    is_own,
    mend_places,
)
from orchestrator.tracking.mlflow.internals import forget_artifact_places

_LOG = logging.getLogger(__name__)
_SERVERS = ("http://", "https://", "databricks", "uc:")
_FOREIGN = (
    MlflowException,
    SQLAlchemyError,
    OSError,  # requests' errors too
    ImportError,  # the database's driver
    ValueError,  # a URI that cannot be read
)
_REFUSALS = {
    "RESOURCE_DOES_NOT_EXIST",
    "RESOURCE_ALREADY_EXISTS",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "BAD_REQUEST",
}
_OF_THE_SERVER = {401, 403, 404, 407, 408, 421, 425, 429}
"""Status codes that say nothing of the very request: who asks, where, and how often."""
_STATUS = re.compile(r"^API request to endpoint \S* ?failed with error code (\d{3}) != ")
_FRONT_COLUMNS = [
    *(f"metrics.`{name}`" for name in names.FIRST_IN_MLFLOW),
    f"tags.`{names.PARETO}`",
]
_HIGHEST_FIRST = {
    "searchFilter": f"tags.{names.KIND} = '{names.KIND_RUN}'",
    "orderByKey": f"metrics.`{names.VAL_ACC}`",
    "orderByAsc": False,
}


def build_views(varied: Sequence[str] = ()) -> dict[str, str]:
    """Build the tags that hold the sweep's views of the UI, which shows no metric of its own accord.

    Args:
        varied: Params that vary in the sweep besides the frozen set: each is a column.
    """
    columns = [*(f"params.`{name}`" for name in (names.FROZEN, *varied)), *_FRONT_COLUMNS]
    return {
        f"{names.VIEW_TAG}{names.VIEW_NESTED}": json.dumps({"selectedColumns": columns}),
        f"{names.VIEW_TAG}{names.VIEW_RUNS}": json.dumps({"selectedColumns": columns, **_HIGHEST_FIRST}),
    }


_EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # else the UI asks, or opens on an empty tab
    **build_views(),
}


class MlflowStore:
    """One MLflow experiment in one store.

    Args:
        root: Where the default store and all artifacts lie.
        experiment_name: Name of the MLflow experiment.
        uri: Tracking URI; None: the SQLite store under the root.
        say: Hears what was mended in the store, a sentence; None: the log does.

    Attributes:
        identity: Which root this is, where other roots may use the store too; None where they cannot, and before the
            store is open.
    """

    def __init__(
        self, root: Root, experiment_name: str, uri: str | None, say: Callable[[str], None] | None = None
    ) -> None:
        self._root = root
        self._experiment_name = experiment_name
        self._uri = uri or root.mlflow_uri
        self._say = say or _LOG.warning
        self.identity: Identity | None = None

    @property
    def root(self) -> Root:
        """Where runs leave their files."""
        return self._root

    @property
    def uri(self) -> str:
        """Tracking URI as it may be shown: credentials are masked."""
        return mask_credentials(self._uri)

    @property
    def is_remote(self) -> bool:
        """Whether the store is a server's, not a database."""
        return not is_database(self._uri)

    def make_ready(self) -> None:
        """Make the tables of a store that is a file, ahead of `open`. Nothing is raised: `open` meets the same."""
        with suppress(OrchestratorError), self.translated("open", SetupError):
            if is_database(self._uri) and find_file(self._uri) is not None:
                _quieten()
                self._connect()

    def open(self) -> tuple[MlflowClient, str]:
        """Open the store and the experiment, each made where it is not there; return client and experiment id.

        Raises:
            SetupError: The store cannot be reached or opened; it is asked once, not for minutes.
        """
        _quieten()
        with self.translated("open", SetupError):
            client = self._connect()
            return client, self._find_experiment(client)

    @staticmethod
    def keep_views(client: MlflowClient, experiment_id: str, varied: Sequence[str]) -> None:
        """Let the saved views of the UI have a column for whatever varies in the sweep."""
        tags = client.get_experiment(experiment_id).tags
        for key, value in build_views(varied).items():
            if tags.get(key) != value:
                client.set_experiment_tag(experiment_id, key, value)

    @contextmanager
    def translated(self, action: str, kind: type[OrchestratorError] = SweepError) -> Iterator[None]:
        """Turn what MLflow raises into `kind`.

        Raises:
            OrchestratorError: Of type `kind`, naming the store without its credentials.
        """
        try:
            yield
        except _FOREIGN as error:
            detail = mask_credentials(str(error)).strip().partition("\n")[0]
            raise kind(
                f"cannot {action} the MLflow store {self.uri}: {detail}", hint=self._hint(kind, error)
            ) from error

    def _hint(self, kind: type[OrchestratorError], error: Exception) -> str:
        if is_database(self._uri):
            with suppress(SQLAlchemyError, ValueError):  # an address that cannot be read
                cause = hint_at_cause(error, MLFLOW, self.uri, find_file(self._uri))
                if cause is not None:
                    return cause
        if not issubclass(kind, SetupError):
            return "once the store answers, give the same command again: what finished is kept"
        if self._uri.startswith(_SERVERS):
            return "start the server, or correct tracking.mlflow_uri (null: a file under the root, no server)"
        return "correct tracking.mlflow_uri (null: a file under the root); `orchestrator doctor` looks at that file"

    def _connect(self) -> MlflowClient:
        if not is_database(self._uri):
            client = MlflowClient(tracking_uri=self._uri)
            self._take_identity()
            return client
        with holding_others_off(self._uri):
            if not is_initialised(self._uri):
                _LOG.info("initialising the MLflow store %s: this takes some seconds, once", self.uri)
                if (file := find_file(self._uri)) is not None:
                    _make_store(file, self._root)
            client = MlflowClient(tracking_uri=self._uri)
            self._take_identity()
            for said in mend_places(self._uri, self._root, self._former_roots()):
                forget_artifact_places()
                self._say(said)
        return client

    def _take_identity(self) -> None:
        if self.identity is None and not is_own(self._uri, self._root):
            self.identity, said = take_identity(self._root)
            if said is not None:
                self._say(said)

    def _former_roots(self) -> list[Path]:
        """List where the root lay before, but for what is another root by now."""
        former = (Root(Path(path)) for path in (self.identity.former if self.identity is not None else ()))
        return [root.path for root in former if not root.identity.exists()]

    def _find_experiment(self, client: MlflowClient) -> str:
        found = client.get_experiment_by_name(self._experiment_name)
        if found is None:
            # without a place MLflow takes ./mlruns of whatever folder the command runs in; a server knows its own
            local = not self._uri.startswith(_SERVERS)
            place = (self._root.artifacts / safe_name(self._experiment_name)).as_uri() if local else None
            try:
                return client.create_experiment(self._experiment_name, artifact_location=place, tags=_EXPERIMENT_TAGS)
            except (MlflowException, OSError):  # another root was quicker, or the answer was lost on its way
                found = client.get_experiment_by_name(self._experiment_name)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise SetupError(
                f"the MLflow experiment {self._experiment_name!r} in {self.uri} is deleted",
                hint=f"restore it (MLFLOW_TRACKING_URI={shlex.quote(self.uri)} {sys.executable} -m mlflow experiments "
                f"restore --experiment-id {found.experiment_id}), or rename yours",
            )
        return found.experiment_id


def _quieten() -> None:
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # it shows a traceback of what it then raises, ahead of our own line
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _make_store(file: Path, root: Root) -> None:
    """Make the tables in a file of another name, which then takes the name: MLflow cannot go on with half of them.

    MLflow's own experiment gets its place under the root, not in the folder that this runs in. A file that is there
    already, and not empty, is left to MLflow: it may be anything.
    """
    if file.exists() and file.stat().st_size:
        return
    unfinished = file.with_name(f".{file.name}.tmp")
    for left in file.parent.glob(f"{glob.escape(unfinished.name)}*"):  # its journal too
        left.unlink()
    store = SqlAlchemyStore(f"sqlite:///{unfinished}", root.artifacts.as_uri())  # type: ignore[no-untyped-call]
    store.engine.dispose()
    unfinished.replace(file)
    sync_folder(file.parent)


def is_refusal(error: BaseException) -> bool:
    """Tell whether the store itself says no: MLflow's own form, not a page of something in between."""
    if isinstance(error, NotFoundError):
        return True
    cause = error.__cause__
    if isinstance(cause, RestException):
        return cause.json.get("error_code") in _REFUSALS
    if isinstance(cause, MlflowException):
        return str(cause.error_code) in _REFUSALS and _find_status(cause) is None
    # a page in JSON's place is another server's answer; requests raises its errors as both
    return isinstance(cause, ValueError) and not isinstance(cause, OSError | json.JSONDecodeError)


def is_rebuff(error: BaseException) -> bool:
    """Tell whether something before the store, such as a proxy, says no to this very request: it may be too large."""
    cause = error.__cause__
    if isinstance(cause, RestException):
        return cause.json.get("error_code") not in ErrorCode.keys()  # noqa: SIM118 - of a protocol's enumeration
    status = _find_status(cause)
    return status is not None and 400 <= status < 500 and status not in _OF_THE_SERVER


def _find_status(cause: BaseException | None) -> int | None:
    """Find the HTTP status of an answer that is not in MLflow's own form."""
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if isinstance(status, int):
        return status
    said = _STATUS.search(str(cause)) if isinstance(cause, MlflowException) else None
    return int(said[1]) if said else None
