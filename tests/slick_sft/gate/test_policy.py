"""Tests of the gate's policy: read, refused, written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slick.errors import InputError
from slick_sft.gate import policy as p
from slick_sft.gate.policy import Control, Policy, policy_of, read_policy, write_template

SCHEMA = json.loads(Path(p.__file__).with_name("policy.schema.json").read_text())


def test_the_template_is_a_policy(tmp_path: Path) -> None:
    """What --init writes can be read, gates Known at 2 points, and its schema stands beside it."""
    path, schema = write_template(tmp_path / "gate.yaml")
    found = read_policy(path)
    assert found.margins == {"Known": 0.02}
    assert (found.seeds, found.looks, found.level, found.control) == (3, 1, 0.9, Control())
    assert path.read_text().startswith(f"# yaml-language-server: $schema=./{schema.name}\n")
    assert json.loads(schema.read_text()) == SCHEMA


def test_commented_keys_of_the_template_are_keys(tmp_path: Path) -> None:
    """What the template leaves in comments would be read if the signs were taken away."""
    path, _ = write_template(tmp_path / "gate.yaml")
    lines = path.read_text().splitlines()
    opened = [
        line.removeprefix("# ")
        if line.startswith(("# hall", "#   Unk", "# abst", "# matc", "# form", "# noise", "#   disc", "#   seeds"))
        else line
        for line in lines
    ]
    opened = [line.replace("#   ", "  ") if line.startswith("#   ") else line for line in opened]
    path.write_text("\n".join(opened))
    found = read_policy(path)
    assert found.hallucination == {"Unknown": 0.05}
    assert found.abstain == ("i cannot tell",)
    assert found.noise == p.Noise(0.10, 0.01)


def test_an_existing_policy_is_not_overwritten(tmp_path: Path) -> None:
    """--init never replaces what a team wrote."""
    (tmp_path / "gate.yaml").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        write_template(tmp_path / "gate.yaml")


def test_all_mistakes_at_once_with_the_nearest_names() -> None:
    """One error names every mistake, and what was probably meant."""
    wrong = {
        "margin": {"Known": 2},
        "margins": {"HighlyKnwon": 2, "Known": 0, "MaybeKnown": "x"},
        "seeds": 0,
        "looks": True,
        "level": 101,
        "inconclusive": "passes",
        "control": "zero-wieght",
        "clusters": ["subjects"],
        "held_out": {"fact": "lab", "limit": 0},
        "tuning": {"learning_rate": "fast", "metod": "lora"},
        "abstain": "no",
        "form": "no question",
        "version": 2,
    }
    with pytest.raises(InputError) as caught:
        policy_of(wrong, "gate.yaml")
    said = str(caught.value)
    for expected in (
        "margin: no key of a policy; did you mean 'margins'?",
        "margins.HighlyKnwon: no key of a policy; did you mean 'HighlyKnown'?",
        "margins.Known: expected points, more than 0",
        "margins.MaybeKnown: expected points",
        "seeds: expected a whole number of at least 1, found 0",
        "looks: expected a whole number",
        "level: expected percent",
        "inconclusive: expected one of report, fail, pass; did you mean 'pass'?",
        "did you mean 'zero-weight'?",
        "clusters: expected one of subject, relation, question; did you mean 'subject'?",
        "held_out.fact: no key of a policy; did you mean 'facts'?",
        "held_out.limit: expected a whole number of at least 1",
        "tuning.learning_rate: expected a number above 0, found 'fast'",
        "tuning.metod: no key of a policy; did you mean 'method'?",
        "abstain: expected a list of texts",
        "form: expected a text that holds {question} once",
        "version: expected 1",
    ):
        assert expected in said, expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a mapping, found None"),
        ("- a", "expected a mapping"),
        ("seeds: 3", "margins: missing"),
        ("margins: {}", "margins: missing"),
        ("margins: {Known: 2}\nmargins: {Known: 9}", "the key 'margins' stands twice"),
        ("margins: {Known: 2", "not YAML"),
        ("margins: {Known: .nan}", "more than 0"),
        ("control: baseline", "or baseline NAME"),
        ("control: base x", "or baseline NAME"),
        ("1: 2", "no key of a policy"),
    ],
)
def test_what_is_no_policy(tmp_path: Path, text: str, said: str) -> None:
    """A file that is none is refused with what is wrong with it."""
    (tmp_path / "gate.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        read_policy(tmp_path / "gate.yaml")


def test_a_missing_policy_says_how_to_write_one(tmp_path: Path) -> None:
    """The way to a policy is named."""
    with pytest.raises(InputError, match="slick gate --init"):
        read_policy(tmp_path / "none.yaml")


def test_values_are_fractions_inside() -> None:
    """Points and percent of the file are fractions, without a binary remainder; 1e-5 is a number."""
    found = policy_of(
        {"margins": {"Known": 2.3}, "level": 95, "tuning": {"learning_rate": "1e-5"}, "control": "baseline v1"}, "x"
    )
    assert found.margins == {"Known": 0.023}
    assert found.level == 0.95
    assert found.tuning.learning_rate == 1e-5
    assert found.control == Control("baseline", "v1")


def test_what_abstains() -> None:
    """The usual words and the policy's own, in any letters; the first line counts."""
    found = policy_of({"margins": {"Known": 2}, "abstain": ["I cannot tell."]}, "x")
    assert [found.abstains(a) for a in ("i cannot TELL\nParis", "I don't know", "", "Paris")] == [
        True,
        True,
        True,
        False,
    ]


@given(
    st.builds(
        lambda margins, seeds, looks, clusters, control, level: {
            "margins": margins,
            "seeds": seeds,
            "looks": looks,
            "clusters": clusters,
            "control": control,
            "level": level,
        },
        st.dictionaries(st.sampled_from(p.GROUPS), st.integers(1, 99).map(lambda n: n / 4), min_size=1),
        st.integers(1, 9),
        st.integers(1, 9),
        st.lists(st.sampled_from(p.CLUSTERS), unique=True),
        st.sampled_from(["zero-weight", "base", "baseline release 4"]),
        st.integers(51, 99),
    )
)
def test_a_policy_survives_being_written(given_: dict[str, Any]) -> None:
    """Read, written as YAML and read again it is the same."""
    found = policy_of(given_, "x")
    assert policy_of(yaml.safe_load(yaml.safe_dump(found.as_dict())), "x") == found


def test_the_schema_has_the_keys_that_are_read() -> None:
    """No key is read that an editor would call wrong, and none is offered that is not read."""
    properties = SCHEMA["properties"]
    assert set(properties) == set(p._KEYS)
    assert set(properties["held_out"]["properties"]) == set(p._HELD_OUT)
    assert set(properties["tuning"]["properties"]) == set(p._TUNING)
    assert set(properties["noise"]["properties"]) == set(p._NOISE)
    assert tuple(SCHEMA["definitions"]["margins"]["properties"]) == p.GROUPS
    assert tuple(properties["inconclusive"]["enum"]) == p.INCONCLUSIVE
    assert tuple(properties["tuning"]["properties"]["method"]["enum"]) == p.METHODS


def test_the_schemas_defaults_are_the_readers() -> None:
    """Where an editor shows a default, it is what a policy without the key has."""
    plain = Policy({"Known": 0.02}).as_dict()
    for name, of in SCHEMA["properties"].items():
        if "default" in of:
            assert plain[name] in (of["default"], [of["default"]]), name


@pytest.mark.parametrize("name", ["hub_token", "hub-token"])
def test_a_secret_is_refused_and_never_written(name: str) -> None:
    """A policy is committed and recorded: a token in it is refused without being shown, and no record has one."""
    given = {"margins": {"Known": 2}, "tuning": {"settings": {name: "hf_secret", "warmup_steps": 3}}}
    with pytest.raises(InputError, match=rf"tuning.settings.{name}: a secret has no place in a policy") as caught:
        policy_of(given, "x")
    assert "hf_secret" not in str(caught.value)
    built = p.Tuning(settings={"hub_token": "hf_secret", "warmup_steps": 3})
    assert built.as_dict()["settings"] == {"warmup_steps": 3}
