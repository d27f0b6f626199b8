"""The studies under a root: which there are, and what is said where one is not there or cannot be read."""

import os
import sqlite3

import optuna
import pytest
from optuna.trial import create_trial

from orchestrator.blocks import FrozenSet
from orchestrator.config.models import TrackingConfig
from orchestrator.errors import NotFoundError, SetupError
from orchestrator.search import OptunaSearch, read_scores, read_study, study_names
from orchestrator.storage.layout import Root
from orchestrator.storage.lock import hold_lock
from tests.factories import PREFIXES, make_cost, make_experiment
from tests.scored import SCORES
from tests.search.studies import finish, open_search, run_all


def test_a_study_is_read_as_it_was_told(root):
    search = open_search(root)
    told = finish(search, search.propose(), 0.875)
    lost = search.fail(search.propose().number, "lost", [])
    running = search.propose()
    experiment, trials = read_study(root, "demo")
    assert experiment.name == "demo"
    assert experiment.data.source == "synthetic"
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert trials[:2] == [told, lost]
    assert (trials[0].val_acc, trials[0].frozen, trials[0].runs[0].result.val_acc) == (0.875, "none", 0.875)
    assert (trials[2].state, trials[2].frozen) == ("put_off", running.choice.frozen)  # nobody owns it
    with hold_lock(root.lock("demo")):
        assert read_study(root, "demo")[1][2].state == "running"


def test_trials_that_wait_are_no_trials_yet(root):
    open_search(root)
    optuna.load_study(study_name="demo", storage=f"sqlite:///{root.optuna_db}").enqueue_trial({"frozen": "stem"})
    assert read_study(root, "demo")[1] == []


def test_the_names_of_the_studies_are_sorted(root):
    for name in ("zebra", "ant", "beans-all"):
        open_search(root, name)
    assert study_names(root) == ["ant", "beans-all", "zebra"]


def test_looking_for_studies_creates_nothing(tmp_path):
    root = Root.at(tmp_path / "nowhere")
    assert study_names(root) == []
    with pytest.raises(NotFoundError, match=r"no sweep called 'beans' in .*nowhere; there are: none") as caught:
        read_study(root, "beans")
    assert caught.value.hint == f"start one with `orchestrator sweep beans --root {root.path}`"
    assert not root.path.exists()


def test_a_study_that_is_not_there_gets_the_nearest_name(root):
    for name in ("beans", "demo"):
        open_search(root, name)
    with pytest.raises(NotFoundError, match=r"no sweep called 'bean' in .*; there are: beans, demo$") as caught:
        read_study(root, "bean")
    assert caught.value.hint == "did you mean 'beans'?"


def test_studies_of_one_root_do_not_mix(root):
    run_all(open_search(root, "one"))
    open_search(root, "two")
    assert len(read_study(root, "one")[1]) == len(PREFIXES)
    assert read_study(root, "two")[1] == []


@pytest.mark.parametrize("damage", ["no database", "truncated", "directory"])
def test_a_damaged_store_is_said_to_be_damaged(root, damage):
    if damage == "truncated":
        run_all(open_search(root))
        content = root.optuna_db.read_bytes()
        root.optuna_db.write_bytes(content[: len(content) // 3])
    elif damage == "directory":
        root.optuna_db.mkdir()
    else:
        root.optuna_db.write_text("this is no database, and it is long enough to be looked at " * 40)
    with pytest.raises(SetupError, match=r"^cannot use the studies in .*/mlruns/optuna\.db: ") as caught:
        open_search(root)
    assert caught.value.hint is not None
    assert "damaged" in caught.value.hint
    if damage != "directory":
        with pytest.raises(SetupError, match=r"^cannot use the studies in .*/mlruns/optuna\.db: "):
            read_study(root, "demo")


def test_a_store_of_another_version_is_said_to_be_one(root):
    open_search(root)
    with sqlite3.connect(root.optuna_db) as database:
        database.execute("update alembic_version set version_num = 'v99'")
    database.close()
    with pytest.raises(SetupError, match=r"^cannot use the studies in .*: .*(version|schema)"):
        study_names(root)


def test_a_study_that_an_older_program_wrote_is_said_to_be_one(root):
    open_search(root)
    study = optuna.load_study(study_name="demo", storage=f"sqlite:///{root.optuna_db}")
    study.set_user_attr("experiment", {"name": "demo", "data": {"source": "x", "image_size": "large"}})
    with pytest.raises(SetupError, match=r"^the study 'demo' in .* cannot be read: Input should be a valid integer"):
        read_study(root, "demo")


def test_what_another_version_configured_besides_is_left_out_and_said(root, caplog):
    open_search(root)
    study = optuna.load_study(study_name="demo", storage=f"sqlite:///{root.optuna_db}")
    study.set_user_attr("experiment", {"name": "demo", "data": {"source": "x", "of_another": 1}})
    experiment, _ = read_study(root, "demo")
    assert experiment.data.source == "x"
    (said,) = caplog.messages
    assert said.startswith("the study 'demo' was written by another version of this program")
    assert said.endswith("what it says of data.of_another is not read, here and wherever it stands")


def test_a_study_of_somebody_else_is_not_read(root):
    study = optuna.create_study(study_name="theirs", storage=f"sqlite:///{root.optuna_db}")
    study.add_trial(create_trial(value=1.0))
    with pytest.raises(NotFoundError, match=r"^the study 'theirs' in .* was not made by this project$"):
        read_study(root, "theirs")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for the super-user")
def test_a_store_that_cannot_be_written_is_said_to_be_one(root):
    root.path.chmod(0o500)
    try:
        with pytest.raises(SetupError, match=r"^cannot use the studies in "):
            open_search(root)
    finally:
        root.path.chmod(0o700)


@pytest.mark.parametrize("folder", ["a b", "ä ß", "it's", 'a "b"', "100%", "a#b", "a&b=c;d"])
def test_a_root_may_have_any_name(tmp_path, folder):
    root = Root.at(tmp_path / folder)
    root.create()
    search = open_search(root)
    finish(search, search.propose())
    assert (tmp_path / folder / "optuna.db").is_file()
    assert [trial.state for trial in read_study(root, "demo")[1]] == ["complete"]


def test_no_credential_of_the_tracking_store_is_kept(root):
    tracking = TrackingConfig(mlflow_uri="https://anna:geheim@example.org/mlflow")
    search = open_search(root, experiment={"tracking": tracking})
    search.require_identity({})
    assert read_study(root, "demo")[0].tracking.mlflow_uri == "https://***@example.org/mlflow"
    assert b"geheim" not in root.optuna_db.read_bytes()


def test_what_is_known_of_the_blocks_is_kept_and_read_with_each_trial(root):
    costs = {key: make_cost(key) for key in PREFIXES}
    search = OptunaSearch(root, make_experiment("demo"), costs, SCORES)
    assert read_scores(root, "demo") is None  # not before the study is known to be of this experiment
    search.require_identity({})
    assert read_scores(root, "demo") == SCORES
    proposal = search.propose()
    assert proposal is not None
    told = finish(search, proposal)
    assert told.scores == SCORES.of(FrozenSet())
    assert read_study(root, "demo")[1] == [told] == search.trials()
    OptunaSearch(root, make_experiment("demo"), costs).require_identity({})
    assert read_scores(root, "demo") is None


def test_scores_of_no_study_or_of_another_version_are_none(root):
    assert read_scores(root, "demo") is None
    open_search(root)._study.set_user_attr("scores", {"key": "k", "blocks": [{"block": "stem", "h_score": 1}]})
    assert read_scores(root, "demo") is None
    assert read_study(root, "demo")[1] == []
