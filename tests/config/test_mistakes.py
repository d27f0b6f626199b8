"""Mistakes in the values: each is named with its place, its key and what was received; all at once."""

import re

import pytest
from pydantic import ValidationError

from orchestrator.config import check_file, resolve_experiment
from orchestrator.config.models import SearchConfig
from orchestrator.config.optimizers import OPTIMIZERS
from orchestrator.errors import ConfigError
from tests.factories import make_experiment

BLOCKS = "valid blocks: stem, layer1, layer2, layer3, layer4 of resnet18"


# § is where a mistake stands
EVERYTHING = """
defaults:
  §trainr: {lr: 1}
  §extends: one
§base: 5
experiments:
  one:
    data: {source: synthetic, mean: §[§true, 0.1], std: §[0, 1, 1]}
    model: {backbone: §resnet9, num_classes: §1}
    trainer:
      max_epochs: §true
      lr: §fast
      patience: §1.5
    search: {mode: §lists, seeds: [0, §true, 0]}
  §two:
    trainer: {lr: 2, §lr: 1}
  §§-three: {}
  §four: 4
  five:
    §name: six
    data: {source: §""}
    execution: §inlin
    search:§
"""
NAME_RULE = "a name has letters, digits, '.', '_' and '-' and begins with a letter or digit"
NETWORKS = "must be a network of torchvision, timm/<name>, or package.module:function"
EVERY_MISTAKE = [
    "defaults.trainr: unknown key; did you mean 'trainer'?",
    "defaults.extends: unknown key (an experiment has it, not the defaults)",
    "base: unknown key; known: defaults, experiments",
    "experiments.one.data.mean.2: an item is missing ([true, 0.1])",
    "experiments.one.data.mean.0: must not be a boolean (true)",
    "experiments.one.data.std: each standard deviation must be greater than 0 ([0, 1, 1])",
    f"experiments.one.model.backbone: {NETWORKS}; did you mean 'resnet50'? ('resnet9')",
    "experiments.one.model.num_classes: must be greater than or equal to 2 (1)",
    "experiments.one.trainer.max_epochs: must not be a boolean (true)",
    "experiments.one.trainer.lr: must be a valid number, unable to parse string as a number ('fast')",
    "experiments.one.trainer.patience: must be a valid integer, got a number with a fractional part (1.5)",
    "experiments.one.search.mode: must be one of prefix, subset, list; did you mean 'list'? ('lists')",
    "experiments.one.search.seeds.1: must not be a boolean (true)",
    "experiments.two.data: the key is missing",
    "experiments.two.trainer.lr: duplicate key, first on line 15",
    f"experiments.-three: {NAME_RULE} ('-three')",
    "experiments.-three.data: the key is missing",
    "experiments.four: must be a mapping (4)",
    "experiments.five.name: unknown key (the entry's key is its name)",
    "experiments.five.data.source: must have at least 1 character ('')",
    "experiments.five.execution.mode: must be one of processes, inline; did you mean 'inline'? ('inlin')",
    "experiments.five.search: must be a mapping (null)",
]


def test_all_mistakes_are_named_at_once(mistakes):
    places = [
        f"e.yaml:{number}:{len(line[: mark.start()].replace('§', '')) + 1}"
        for number, line in enumerate(EVERYTHING.strip().splitlines(), start=1)
        for mark in re.finditer("§", line)
    ]
    expected = [f"{place}: {mistake}" for place, mistake in zip(places, EVERY_MISTAKE, strict=True)]
    assert sorted(mistakes(EVERYTHING.replace("§", ""))) == sorted(expected)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("trainer: {optimiser: adam}", "trainer.optimiser: unknown key; did you mean 'optimizer'?"),
        ("data: {imagesize: 1}", "data.imagesize: unknown key; did you mean 'image_size'?"),
        ("search: {lr: {choice: [1]}}", "search.lr.choice: unknown key; did you mean 'choices'?"),
        ("search: {lr: {range: {lo: 1}}}", "search.lr.range.lo: unknown key; did you mean 'low'?"),
        ("extend: b", "extend: unknown key; did you mean 'extends'?"),
        ("tracking: {xyz: 1}", "tracking.xyz: unknown key; known: mlflow_uri, tensorboard"),
    ],
)
def test_a_misspelt_key_gets_the_nearest_one(mistakes, key, hint):
    lines = mistakes(f"experiments:\n  a:\n    {key}\n")
    assert [line.split(": ", 1)[1] for line in lines if "unknown" in line] == [f"experiments.a.{hint}"]


def test_an_unknown_key_stands_where_its_key_is_and_a_wrong_value_where_its_value_is(mistakes):
    text = "experiments:\n  a:\n    data: {source: synthetic}\n    trainer: {lrr: 1, lr: -1}\n"
    assert [line.split(" ")[0] for line in mistakes(text)] == ["e.yaml:4:27:", "e.yaml:4:15:"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("defaults: {}\n", "e.yaml:1:1: experiments: the key is missing"),
        ("experiments: {}\n", "e.yaml: experiments: there is none"),
        ("experiments:\n", "e.yaml: experiments: there is none"),
        ("experiments: [a]\n", 'e.yaml:1:14: experiments: must be a mapping (["a"])'),
    ],
)
def test_a_file_without_experiments_is_a_mistake(mistakes, text, line):
    assert mistakes(text) == [line]


def test_defaults_must_be_a_mapping(mistakes):
    text = "defaults: 5\nexperiments:\n  a: {data: {source: synthetic}}\n"
    assert mistakes(text) == ["e.yaml:1:11: defaults: must be a mapping (5)"]


def test_an_unknown_experiment_gets_the_nearest_one(write):
    path = write("experiments:\n  beans: {data: {source: x}}\n  demo: {data: {source: x}}\n")
    with pytest.raises(
        ConfigError, match=r"^e\.yaml: experiments: there is no experiment 'bean'; did you mean 'beans'\?$"
    ):
        resolve_experiment("bean", path)
    with pytest.raises(ConfigError, match=r"no experiment 'xyz'; known: beans, demo$"):
        resolve_experiment("xyz", path)


def test_an_unknown_experiment_is_named_beside_the_mistakes_of_the_file(write):
    path = write("experimnts: {}\nexperiments:\n  beans: {data: {source: x}}\n")
    with pytest.raises(ConfigError, match=r"(?s)^2 mistakes\ne\.yaml:1:1: experimnts: .*'experiments'\?\n.*'bean'"):
        resolve_experiment("bean", path)


@pytest.mark.parametrize("value", ["1e-3", "1.0e-3", "0.001", "'1e-3'", "1E-3"])
def test_a_learning_rate_may_be_written_as_people_write_it(write, value):
    path = write(f"experiments:\n  a:\n    data: {{source: synthetic}}\n    trainer: {{lr: {value}}}\n"
                 f"    search: {{lr: {{choices: [{value}, 1e-4]}}}}\n")  # fmt: skip
    experiment = resolve_experiment("a", path).experiment
    assert experiment.trainer.lr == 0.001
    assert experiment.search.lr is not None
    assert experiment.search.lr.choices == (0.001, 0.0001)
    assert resolve_experiment("a", path, [f"trainer.lr={value}"]).experiment == experiment


@pytest.mark.parametrize(
    ("section", "key"),
    [
        *(("data", key) for key in ("image_size", "batch_size", "loader_workers", "memory_mb", "validation_fraction")),
        *(("trainer", key) for key in ("max_epochs", "patience", "lr", "weight_decay", "log_every_n_steps")),
        *(("search", key) for key in ("n_trials", "sampler_seed", "max_trainable_params")),
        ("model", "num_classes"),
        ("execution", "workers"),
        ("cache", "max_gb"),
    ],
)
def test_true_is_no_number(mistakes, section, key):
    sections = {"data": "source: synthetic"}
    sections[section] = ", ".join(filter(None, [sections.get(section), f"{key}: yes"]))
    text = "".join(f"    {name}: {{{values}}}\n" for name, values in sections.items())
    lines = mistakes(f"experiments:\n  a:\n{text}")
    assert [line.split(": ", 1)[1] for line in lines] == [
        f"experiments.a.{section}.{key}: must not be a boolean (true)"
    ]


TUNINGS = "valid tunings: frozen, full, norm, bias, lora-R (R is the rank)"
RANK = "a rank is a whole number from 1 and follows a dash, as in lora-4"
NORM = "did you mean 'norm'? ('stem:nrm')"
OF_MODES = 'belongs to search.mode prefix or subset: in mode list the frozen sets name their tunings (["norm"])'
TOO_MANY = (
    "make 7,776 frozen sets of 5 blocks, and 5,000 can be searched: leave out a tuning, or use mode list "
    '(["full", "norm", "bias", "lora-1", "lora-2"])'
)
SEARCHES = [
    ("{mode: §list}", "mode: needs search.frozen, the frozen sets to try ('list')"),
    ("{mode: §list, frozen: []}", "mode: needs search.frozen, the frozen sets to try ('list')"),
    ("{frozen: §[stem]}", 'frozen: belongs to search.mode list, and the mode is prefix (["stem"])'),
    ("{frozen: §[none], mode: subset}", 'frozen: belongs to search.mode list, and the mode is subset (["none"])'),
    (
        "{mode: list, frozen: [§stem+layr1]}",
        f"frozen.0: unknown block 'layr1'; {BLOCKS}; did you mean 'layer1'? ('stem+layr1')",
    ),
    ("{mode: list, frozen: [stem, §head]}", f"frozen.1: unknown block 'head'; {BLOCKS} ('head')"),
    ("{mode: list, frozen: [stem, §'']}", f"frozen.1: unknown block ''; {BLOCKS} ('none')"),
    ("{mode: list, frozen: [§none+stem]}", f"frozen.0: unknown block 'none'; {BLOCKS} ('none+stem')"),
    ("{mode: list, frozen: [§[stem]]}", 'frozen.0: must be a valid string (["stem"])'),
    ("{mode: list, frozen: §stem}", "frozen: must be a list ('stem')"),
    ("{tunings: §[]}", "tunings: must have at least 1 items ([])"),
    ("{tunings: §[norm, norm]}", 'tunings: each value may stand once (["norm", "norm"])'),
    (
        "{tunings: [full, §frozen]}",
        "tunings.1: is what search.mode varies: name what blocks do that are not frozen ('frozen')",
    ),
    ("{tunings: [§lora]}", f"tunings.0: unknown tuning 'lora'; {TUNINGS}; {RANK} ('lora')"),
    ("{mode: list, frozen: [stem], tunings: §[norm]}", f"tunings: {OF_MODES}"),
    ("{mode: subset, tunings: §[full, norm, bias, lora-1, lora-2]}", f"tunings: {TOO_MANY}"),
    ("{mode: list, frozen: [§stem:nrm]}", f"frozen.0: block 'stem': unknown tuning 'nrm'; {TUNINGS}; {NORM}"),
    ("{encoding: §per_block}", "encoding: belongs to search.mode subset, and the mode is prefix ('per_block')"),
    (
        "{mode: list, frozen: [stem], encoding: §per_block}",
        "encoding: belongs to search.mode subset, and the mode is list ('per_block')",
    ),
    ("{sampler: §blocks}", "sampler: needs search.n_trials: a sampler has no end of its own ('blocks')"),
    ("{sampler: §tpe}", "sampler: needs search.n_trials: a sampler has no end of its own ('tpe')"),
    ("{sampler: §nsga2}", "sampler: needs search.n_trials: a sampler has no end of its own ('nsga2')"),
    ("{sampler: §random}", "sampler: needs search.n_trials: a sampler has no end of its own ('random')"),
    ("{sampler: §gp}", "sampler: needs search.n_trials: a sampler has no end of its own ('gp')"),
    (
        "{sampler: §tp, n_trials: 1}",
        "sampler: must be one of auto, blocks, tpe, nsga2, random, gp; did you mean 'tpe'? ('tp')",
    ),
    ("{n_trials: §0}", "n_trials: must be greater than or equal to 1 (0)"),
    ("{§lr: {range: {low: 1e-4, high: 1}}}", "lr: a range needs search.n_trials: it has no end of its own"),
    (
        "{§batch_size: {range: {low: 1, high: 9}}}",
        "batch_size: a range needs search.n_trials: it has no end of its own",
    ),
    ("{seeds: §[1, 1]}", "seeds: each value may stand once ([1, 1])"),
    ("{seeds: §[]}", "seeds: must have at least 1 items ([])"),
    ("{seeds: §0}", "seeds: must be a list (0)"),
    ("{seeds: [§-1]}", "seeds.0: must be greater than or equal to 0 (-1)"),
    ("{lr: {choices: §[1e-3, 0.001]}}", 'lr.choices: each value may stand once (["1e-3", 0.001])'),
    ("{optimizer: {choices: [adam, §lion]}}", f"optimizer.choices.1: must be one of {', '.join(OPTIMIZERS)} ('lion')"),
    (
        "{§lr: {choices: [1], range: {low: 1, high: 2}}, n_trials: 1}",
        "lr: give either choices or range: a list such as [1, 2], or {low: 1, high: 2}",
    ),
    ("{§lr: {}}", "lr: give either choices or range: a list such as [1, 2], or {low: 1, high: 2}"),
    (
        "{lr: §1e-3}",
        (
            "lr: must be a list of values, lr: [1e-3, ...], a range lr: {low: ..., high: ..., log: true}; "
            "one value is trainer.lr ('1e-3')"
        ),
    ),
    (
        "{batch_size: §16}",
        (
            "batch_size: must be a list of values, batch_size: [16, ...], a range batch_size: {low: ..., high: ..., "
            "log: true}; one value is data.batch_size (16)"
        ),
    ),
    (
        "{optimizer: §sgd}",
        "optimizer: must be a list of values, optimizer: [sgd, ...]; one value is trainer.optimizer ('sgd')",
    ),
    ("{lr: §[1e-3, 11]}", "lr.choices.1: must be less than or equal to 10 (11)"),
    ("{§lr: {low: 0, high: 1}, n_trials: 2}", "lr: learning rates lie in (0, 10]"),
    ("{§lr: {low: 1e-4, high: 1}}", "lr: a range needs search.n_trials: it has no end of its own"),
    ("{lr: {§range: {low: 2, high: 1}}, n_trials: 1}", "lr.range: low must be less than high (2.0 and 1.0)"),
    (
        "{weight_decay: {§range: {low: 0, high: 1, log: true}}, n_trials: 1}",
        "weight_decay.range: a logarithmic range needs low greater than 0 (0.0)",
    ),
    ("{§lr: {range: {low: 0, high: 1}}, n_trials: 1}", "lr: learning rates lie in (0, 10]"),
    ("{lr: {choices: [§11]}}", "lr.choices.0: must be less than or equal to 10 (11)"),
    ("{strategy: §rice}", "strategy: must be one of full, race; did you mean 'race'? ('rice')"),
    (
        "{strategy: race, sampler: §tpe, n_trials: 3}",
        "sampler: search.strategy race runs a planned space, and a sampler has none ('tpe')",
    ),
    (
        "{strategy: §race, objective: {gain: macro_f1}}",
        "strategy: race decides by val_acc and trainable_params alone: leave search.objective out ('race')",
    ),
    (
        "{objective: {gain: §f1}}",
        "objective.gain: must be one of val_acc, balanced_accuracy, macro_f1, val_loss ('f1')",
    ),
    (
        "{objective: {cost: §kwh}}",
        (
            "objective.cost: must be one of trainable_params, gflops_train_per_image, s_per_epoch, duration_s, "
            "peak_memory_mb, energy_wh ('kwh')"
        ),
    ),
    (
        "{strategy: §race, lr: {range: {low: 1e-4, high: 1}}, n_trials: 3}",
        "strategy: race runs a planned space, and search.lr is a range: give choices ('race')",
    ),
    ("{race: {rungs: §[3, 3]}}", "race.rungs: each rung must come after the one before ([3, 3])"),
    ("{race: {rungs: §[9, 3]}}", "race.rungs: each rung must come after the one before ([9, 3])"),
    ("{race: {rungs: §[]}}", "race.rungs: must have at least 1 items ([])"),
    ("{race: {rungs: [§0]}}", "race.rungs.0: must be greater than or equal to 1 (0)"),
    ("{race: {drop_below: §0}}", "race.drop_below: must be greater than 0 (0)"),
    ("{budget: {epochs: §0}, strategy: race}", "budget.epochs: must be greater than or equal to 1 (0)"),
    (
        "{§budget: {minutes: 3}}",
        "budget: belongs to search.strategy race, and the strategy is full",
    ),
]


@pytest.mark.parametrize(("search", "line"), SEARCHES)
def test_a_search_that_makes_no_sense_is_a_mistake(mistakes, search, line):
    text = f"experiments: {{a: {{data: {{source: synthetic}},\nsearch: {search.replace('§', '')}}}}}\n"
    column = len("search: ") + search.index("§") + 1
    assert mistakes(text) == [f"e.yaml:2:{column}: experiments.a.search.{line}"]


def test_broken_rules_are_named_beside_other_mistakes(mistakes):
    text = """
        experiments:
          a:
            data: {source: synthetic, synthetic: {classes: 4}}
            model: {num_classes: 3, frozen_batchnorm: eval}
            trainer: {lr: 0}
            search: {frozen: [layer9], sampler: tpe, seeds: [], max_trainable_params: 0}
    """
    keys = [line.split(": ")[1].removeprefix("experiments.a.") for line in mistakes(text)]
    assert keys == [
        *("model.num_classes", "trainer.lr", "search.frozen", "search.sampler"),
        *("search.seeds", "search.max_trainable_params"),
    ]


def test_the_head_must_fit_the_drawn_images(mistakes, write):
    text = """
        experiments:
          a:
            data: {source: SOURCE, synthetic: {classes: 4}}
            model:
              num_classes: CLASSES
    """
    wrong = text.replace("SOURCE", "synthetic").replace("CLASSES", "3")
    assert mistakes(wrong) == ["e.yaml:5:20: experiments.a.model.num_classes: data.synthetic.classes is 4 (3)"]
    for source, classes in (("synthetic", "4"), ("synthetic", "null"), ("beans", "3")):
        assert check_file(write(text.replace("SOURCE", source).replace("CLASSES", classes))) == ["a"]


def test_the_rules_hold_in_python_too():
    with pytest.raises(ValidationError, match=r"needs search\.frozen, the frozen sets to try"):
        SearchConfig(mode="list")
    with pytest.raises(ValidationError, match=r"unknown block 'layer9'"):
        make_experiment(search=SearchConfig(mode="list", frozen=("layer9",)))


def test_a_list_of_frozen_sets_is_normalised():
    search = SearchConfig(mode="list", frozen=("layer1+stem", "stem + layer1", "none", "layer4+layer4"))
    assert [frozen.key for frozen in make_experiment(search=search).frozen_sets] == ["stem+layer1", "none", "layer4"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("model: {weights: 'sweep:a'}", "experiments.a.model.weights: a sweep cannot start from its own"),
        ("model: {weights: 'sweep:'}", "must name an experiment after `sweep:`, such as sweep:demo-source ('sweep:')"),
        ("model: {num_classes: 4}", "experiments.a.model.num_classes: sklearn/digits has 10 (4)"),
        ("data: {classes: [1, 2]}, model: {num_classes: 3}", "model.num_classes: data.classes names 2 (3)"),
        ("data: {classes: [1]}", "data.classes: must have at least 2 items"),
        ("data: {classes: ['1', 1]}", "data.classes: each value may stand once"),
        ("data: {classes: [yes, 2]}", "data.classes.0: must be a class's name; write it in quotes (true)"),
        ("data: {value_range: [5, 5]}", "data.value_range: must be [low, high] with low < high ([5, 5])"),
    ],
)
def test_mistakes_of_the_demo_kind(write, entry, message):
    data = "" if entry.startswith("data") else "data: {source: sklearn/digits}, "
    entry = entry.replace("data: {", "data: {source: sklearn/digits, ", 1) if entry.startswith("data") else entry
    path = write(f"experiments:\n  a: {{{data}{entry}}}\n")
    with pytest.raises(ConfigError) as caught:
        resolve_experiment("a", path)
    assert message in caught.value.message


def test_apples_gpu_is_refused_with_the_reason(tmp_path):
    with pytest.raises(ValidationError, match="Apple's GPU is not supported: what it computes was never checked"):
        make_experiment(trainer={"accelerator": "mps"})
