"""The grid of a study: the shipped ones, what a file may say, and everything that is wrong with it at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from slick.errors import InputError
from slick.knowledge import CATEGORIES
from slick.knowledge_file import read_knowledge
from slick_sft.recipe import named, paper_names
from slick_sft.recipes import mix
from slick_sft.study.grid import SHIPPED, canonical, parse_grid, read_grid
from slick_tasks.lab import data_path


def test_the_paper_grid_has_all_of_the_paper() -> None:
    """Every recipe of the paper, the control at every share, and LoRA at a few; its training settings."""
    grid = read_grid("paper")
    named_so = {variant.name for variant in grid.variants} | set(grid.same)
    assert set(paper_names()) <= named_so
    assert {"lora-known-only", "lora-unknown-50", "lora-unknown-100"} <= named_so
    training = grid.trainings[""]
    assert (training.method, training.learning_rate, training.epochs, training.batch_size) == ("full", 1e-5, 50, 128)
    assert grid.trainings["lora"].lora == {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
    assert grid.size is None


def test_the_small_grid_has_what_the_claims_need() -> None:
    """Five shares, and D_Known and the zero-weight control at three of them."""
    names = {variant.name for variant in read_grid("small").variants}
    mixed = {f"unknown-{x}{how}" for x in (50, 75, 90) for how in ("", "-zero-weight", "-without-unknown")}
    assert names == {"known-only", "unknown-100", *mixed}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_grids_survive_their_record(name: str) -> None:
    """What `study.json` records of a grid names every variant and every recipe."""
    record = read_grid(name).as_dict()
    assert {variant.rpartition("lora-")[2] for variant in record["variants"]} == set(record["recipes"])


def test_all_mistakes_are_told_at_once_with_the_nearest_names() -> None:
    """Unknown keys, recipes, categories, methods, numbers out of range, and what cannot be trained."""
    text = """
        varants: 3
        variants: [unknown-50, unkown-50, only-Known, unknown-100-zero-weight, 7, {name: a, unknow: 0.5}]
        training: {lerning_rate: 1, epochs: -3, batch_size: x, lora_r: 4}
        facts: {train: 0, tset: 4}
        watch: [test]
        watch_rows: some
        form: no question
        ptrue: maybe
        versions: {lora: {method: lra, variants: [unknown-1e]}, "a b": 3}
    """
    with pytest.raises(InputError) as caught:
        parse_grid(text, "x.yaml")
    said = str(caught.value)
    assert said.startswith("x.yaml: not a grid:")
    for part in (
        "varants: unknown; expected variants",
        "did you mean 'variants'?",
        "number 2: 'unkown-50': no such recipe; did you mean 'unknown-50'",
        "number 3: 'only-Known': no such recipe; did you mean 'only-Unknown'",
        "number 4: unknown-100-zero-weight: no row has a weight",
        "number 5: found 7, expected recipes by name",
        "'unknow': no key of a recipe; did you mean 'unknown'?",
        "training.lerning_rate: unknown",
        "did you mean 'learning_rate'?",
        "training.epochs = -3: expected a number above 0",
        "training.batch_size = 'x': expected a whole number of at least 1",
        "training.lora_r: only with method: lora",
        "facts.train = 0: expected a whole number of at least 1",
        "facts.tset: unknown; expected train, dev, test, ood; did you mean 'test'?",
        "watch: lacks dev, which decides EARLY_STOP",
        "watch_rows = 'some': expected a whole number of at least 1, all, or tenth",
        "form = 'no question'",
        "ptrue = 'maybe': expected true or false",
        "versions.lora.method = 'lra': expected full or lora; did you mean 'lora'?",
        "versions.lora.variants, number 1: 'unknown-1e': no such recipe",
        "versions.a b: expected a name of letters",
    ):
        assert part in said or part in said.replace("\n", " "), part


def test_what_the_study_decides_is_no_setting() -> None:
    """Rate, epochs, batch, seeds and saving have keys or options of their own, which would be overruled."""
    text = """
        training: {settings: {seed: 7, learning_rate: 1.0, num_train_epochs: 1, save_steps: 5, weight_decay: 0.1,
          gradient_accumulation_steps: 0.5}}
        variants: [natural]
        versions: {long: {settings: {max_steps: 9, data_seed: 1, per_device_train_batch_size: 2}, variants: [natural]}}
    """
    with pytest.raises(InputError) as caught:
        parse_grid(text, "x.yaml")
    assert [line.strip(" -") for line in str(caught.value).splitlines()[1:]] == [
        "training.settings.seed: use --seeds",
        "training.settings.learning_rate: use training.learning_rate",
        "training.settings.num_train_epochs: use training.epochs",
        "training.settings.save_steps: the study saves what it needs; to keep the models use --keep-models",
        "training.settings.gradient_accumulation_steps = 0.5: expected a whole number of at least 1",
        "versions.long.settings.max_steps: use versions.long.epochs",
        "versions.long.settings.data_seed: use --seeds",
        "versions.long.settings.per_device_train_batch_size: use versions.long.batch_size",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("variants: 2024-99-99", "not YAML"),
        pytest.param("variants: " + "[" * 3000, "not YAML", id="brackets"),
        ("variants: [unknown-50]\nvariants: [unknown-10]", "the key 'variants' stands twice"),
        ("variants: [{name: a, unknown: 0.1, unknown: 0.2}]", "the key 'unknown' stands twice"),
    ],
)
def test_what_is_no_yaml_is_wrong_input(text: str, said: str) -> None:
    """A date that is none, brackets without end, and a key that stands twice, of which YAML takes the last."""
    with pytest.raises(InputError, match=r"x\.yaml: not YAML") as caught:
        parse_grid(text, "x.yaml")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "{variants: [{name: lora-unknown-50, unknown: 0.25}], versions: {lora: {method: lora, "
            "variants: [unknown-50]}}}",
            "a recipe is called lora-unknown-50, as a version's variant is",
        ),
        (
            "{variants: [{name: lora-only-Unknown, unknown: 0.25}], versions: {lora: {method: lora, "
            "variants: [only-Unknown]}}}",
            "a recipe is called lora-only-Unknown, as a version's variant is",
        ),
        ("variants: [only-Unknown, {name: only-Unknown, unknown: 0.3}]", "two recipes are called only-Unknown"),
    ],
)
def test_variants_have_names_of_their_own(text: str, said: str) -> None:
    """Also where a version's name, or that of a variant that another stands for, is the name of a recipe."""
    with pytest.raises(InputError, match=said):
        parse_grid(text, "x.yaml")


def test_a_list_of_recipes_is_needed() -> None:
    """A grid without variants says what it lacks."""
    with pytest.raises(InputError, match="variants: expected a list of recipes by name"):
        parse_grid("training: {epochs: 3}", "x.yaml")
    with pytest.raises(InputError, match="expected a mapping with at least 'variants', found list"):
        parse_grid("[1, 2]", "x.yaml")
    with pytest.raises(InputError, match=r"x\.yaml: not YAML"):
        parse_grid("{", "x.yaml")


def test_an_unknown_grid_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    """Neither file nor name; the error says which there are."""
    with pytest.raises(InputError, match="no such file, and no grid of that name; expected paper, small or a YAML"):
        read_grid("smal")
    file = tmp_path / "mine.yaml"
    file.write_text("variants: [natural]")
    assert [variant.name for variant in read_grid(str(file)).variants] == ["natural"]


def test_versions_take_over_what_they_do_not_say() -> None:
    """A version has the grid's settings; another method's learning rate is none of its own."""
    grid = parse_grid(
        """
        training: {learning_rate: 3e-5, epochs: 7, batch_size: 16, settings: {weight_decay: 0.1}}
        variants: [known-only]
        versions:
          slow: {learning_rate: 1e-6, variants: [known-only, unknown-50]}
          lora: {method: lora, lora_r: 4, variants: [unknown-50]}
        """,
        "x.yaml",
    )
    assert [v.name for v in grid.variants] == ["known-only", "slow-known-only", "slow-unknown-50", "lora-unknown-50"]
    slow, lora = grid.trainings["slow"], grid.trainings["lora"]
    assert (slow.learning_rate, slow.epochs, slow.batch_size, slow.settings) == (1e-6, 7, 16, {"weight_decay": 0.1})
    assert (lora.learning_rate, lora.epochs, lora.lora) == (1e-4, 7, {"r": 4, "lora_alpha": 32, "lora_dropout": 0.0})
    assert set(grid.recipes) == {"known-only", "unknown-50"}


def test_recipes_may_be_written_out() -> None:
    """As in a recipe file; each needs a name of its own."""
    grid = parse_grid("variants: [{name: mine, unknown: 0.5, weights: {Unknown: 0.2}}]", "x.yaml")
    assert grid.variants[0].name == "mine"
    assert grid.recipes["mine"].as_dict()["weights"] == {"Unknown": 0.2}
    with pytest.raises(InputError, match="two recipes are called mine"):
        parse_grid("variants: [{name: mine, unknown: 0.5}, {name: mine, unknown: 0.6}]", "x.yaml")
    with pytest.raises(InputError, match="'a/b' cannot name a directory"):
        parse_grid("variants: [{name: a/b, unknown: 0.5}]", "x.yaml")


@pytest.mark.parametrize(("given", "rows"), [("", 0), ("all", 0), ("tenth", None), ("40", 40)])
def test_a_study_watches_all_rows_unless_told_otherwise(given: str, rows: int | None) -> None:
    """A grid that says nothing asks every fact of dev, by which EARLY_STOP is chosen."""
    assert parse_grid(f"variants: [natural]\nwatch_rows: {given}", "x.yaml").watch_rows == rows
    assert parse_grid("variants: [natural]", "x.yaml").watch_rows == read_grid("paper").watch_rows == 0


def test_equal_recipes_are_trained_once() -> None:
    """Names of the same rows stand for one variant, and the grid says for which."""
    grid = parse_grid("variants: [unknown-0, known-only, unknown-0-idk, only-Unknown, unknown-100, natural]", "x.yaml")
    assert [variant.name for variant in grid.variants] == ["known-only", "unknown-100", "natural"]
    assert grid.same == {"known-only-idk": "known-only", "only-Unknown": "unknown-100"}


@pytest.mark.parametrize(
    "name", ["only-Unknown", "unknown-0-idk", "unknown-0-zero-weight", "unknown-0-without-unknown"]
)
def test_the_simpler_recipe_gives_the_same_rows(name: str) -> None:
    """What stands in a recipe's place is mixed to the same rows, answers and weights."""
    knowledge = read_knowledge(data_path() / "knowledge_train.parquet").knowledge
    recipe = named(name)
    assert recipe is not None
    assert canonical(recipe) != recipe
    assert mix(knowledge, canonical(recipe), 3) == mix(knowledge, recipe, 3)


def test_every_category_can_be_alone() -> None:
    """Single-category variants go by the categories' names."""
    names = [f"only-{category}" for category in CATEGORIES]
    grid = parse_grid(f"variants: [{', '.join(names)}]", "x.yaml")
    assert len(grid.variants) == len(CATEGORIES)


def test_the_documented_grid_is_one() -> None:
    """The page's example is read as it stands, with every key that a grid has."""
    page = (Path(__file__).parents[3] / "docs" / "study.md").read_text(encoding="utf-8")
    grid = parse_grid(page.partition("```yaml\n")[2].partition("```")[0], "docs/study.md")
    assert [variant.name for variant in grid.variants][-2:] == ["lora-known-only", "lora-unknown-50"]
    assert grid.recipes["gentle"].as_dict()["weights"] == {"Unknown": 0.2}
    assert (grid.size, grid.watch_rows, grid.limits) == (500, 300, {"train": 5000, "test": 1000})
