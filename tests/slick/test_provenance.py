"""slick.provenance: what a model is, and when a model's directory cannot serve."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from slick.errors import InputError
from slick.provenance import adapter_base, check_model, fingerprint, is_adapter, library_versions, same_model


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be damaged."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.fixture
def adapter(model: Path, tmp_path: Path) -> Path:
    """The directory of a LoRA adapter of that copy, as far as its files go."""
    path = tmp_path / "adapter"
    path.mkdir()
    shutil.copy(model / "model.safetensors", path / "adapter_model.safetensors")
    (path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(model), "r": 8}))
    return path


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change_weights(model: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(model / "model.safetensors")
    name = sorted(tensors)[0]
    tensors[name] = tensors[name] + 1e-3
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (change_weights, "weights"),
        (lambda m: edit(m / "tokenizer.json", version="2.0"), "tokenizer"),
        (lambda m: (m / "chat_template.jinja").write_text("other"), "chat_template"),
    ],
)
def test_a_fingerprint_changes_with_what_it_covers(model: Path, change: Callable[[Path], None], named: str) -> None:
    """Weights, tokenizer and chat template each change their own part and no other."""
    before = fingerprint(str(model))
    change(model)
    after = fingerprint(str(model))
    assert {name for name in before if before[name] != after[name]} == {named}


def test_a_fingerprint_does_not_depend_on_the_place(model: Path, tiny_model: Path) -> None:
    """A copy is the same model under another name."""
    one, other = fingerprint(str(model)), fingerprint(str(tiny_model))
    assert one.pop("name") != other.pop("name")
    assert one == other
    assert all(one[name] for name in ("weights", "tokenizer", "chat_template"))


def test_a_chat_template_may_stand_in_the_tokenizers_config(model: Path) -> None:
    """Older models keep it there."""
    (model / "chat_template.jinja").unlink()
    assert fingerprint(str(model))["chat_template"] is None
    edit(model / "tokenizer_config.json", chat_template="{{ messages }}")
    first = fingerprint(str(model))["chat_template"]
    edit(model / "tokenizer_config.json", chat_template="{{ messages }}!")
    assert None is not first != fingerprint(str(model))["chat_template"]


def test_an_adapter_is_its_base_and_itself(model: Path, adapter: Path) -> None:
    """Base weights, tokenizer and template as the base's; another adapter, another fingerprint."""
    base, tuned = fingerprint(str(model)), fingerprint(str(adapter))
    assert {name for name in base if base[name] != tuned[name]} == {"name", "adapter"}
    assert is_adapter(adapter)
    assert not is_adapter(model)
    edit(adapter / "adapter_config.json", r=4)
    assert fingerprint(str(adapter))["adapter"] != tuned["adapter"]
    change_weights(model)
    assert fingerprint(str(adapter))["weights"] != tuned["weights"]


def test_a_name_that_is_no_directory_is_known_by_name() -> None:
    """A hub name or a served model has no hash."""
    assert fingerprint("org/model") == {
        "name": "org/model",
        "weights": None,
        "adapter": None,
        "tokenizer": None,
        "chat_template": None,
    }


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ({"name": "x", "weights": "w"}, {"name": "y", "weights": "w"}, True),
        ({"name": "x", "weights": "w"}, {"name": "x", "weights": "v"}, False),
        ({"name": "x", "weights": "w", "adapter": "a"}, {"name": "x", "weights": "w", "adapter": None}, False),
        ({"name": "x", "weights": "w", "adapter": None}, {"name": "y", "weights": "w"}, True),
        ({"name": "x", "weights": None}, {"name": "x", "weights": None}, True),
        ({"name": "x", "weights": None}, {"name": "y", "weights": None}, False),
        ({"name": "x", "weights": "w"}, {"name": "x", "weights": None}, True),
    ],
)
def test_models_are_the_same_by_weights_where_known(a: dict[str, str], b: dict[str, str], same: bool) -> None:
    """By weights and adapter, else by name; which is asked first does not matter."""
    assert same_model(a, b) is same
    assert same_model(b, a) is same


def test_versions_name_this_project_and_its_hosts() -> None:
    """What a result depends on besides the model."""
    found = library_versions()
    assert {"slick", "lm_eval", "torch", "transformers"} <= set(found)
    assert all(found.values())


def test_a_whole_model_passes(model: Path, adapter: Path) -> None:
    """A directory as save_pretrained leaves it, an adapter of it, and names that the backend resolves."""
    for name in (str(model), str(adapter), "gpt2", "org/model"):
        check_model(name)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: (m / "config.json").unlink(), "model: has no config.json; expected a directory that"),
        (lambda m: (m / "config.json").write_text("{"), r"config\.json:1:2: not JSON"),
        (lambda m: (m / "config.json").write_text("[]"), r"config\.json: expected a JSON object, found list"),
        (lambda m: (m / "model.safetensors").unlink(), r"model: has no \*\.safetensors weights$"),
        (
            lambda m: (m / "model.safetensors").rename(m / "pytorch_model.bin"),
            r"has no \*\.safetensors weights \(found \['pytorch_model\.bin'\], which are pickles; convert",
        ),
        (lambda m: (m / "tokenizer.json").unlink(), r"model: has no tokenizer; expected one of tokenizer\.json"),
        (
            lambda m: edit(m / "tokenizer_config.json", eos_token=None),
            r'names no end-of-sequence token.*; set "eos_token" in tokenizer_config\.json',
        ),
        (lambda m: (m / "tokenizer_config.json").write_text("[]"), r"tokenizer_config\.json: expected a JSON object"),
    ],
)
def test_a_model_that_cannot_serve_is_named(model: Path, damage: Callable[[Path], None], message: str) -> None:
    """The file, what was expected, and how to mend it where one can."""
    damage(model)
    with pytest.raises(InputError, match=message):
        check_model(str(model))


@pytest.mark.parametrize("size", [0, 7, 20, 5_000, -1])
def test_half_written_weights_are_named(model: Path, adapter: Path, size: int) -> None:
    """Cut off in the length, the header or the tensors; of a model or of an adapter's base."""
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    for name in (model, adapter):
        with pytest.raises(InputError, match=r"model\.safetensors: not readable weights .+ may be half-written"):
            check_model(str(name))


def test_half_written_adapters_are_named(adapter: Path) -> None:
    """An adapter needs its own weights, whole and no pickle, and the name of its base."""
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"adapter_model\.safetensors: not readable weights"):
        check_model(str(adapter))
    file.rename(adapter / "adapter_model.bin")
    with pytest.raises(InputError, match=r"has no adapter_model\*\.safetensors weights .*which are pickles"):
        check_model(str(adapter))
    edit(adapter / "adapter_config.json", base_model_name_or_path=None)
    with pytest.raises(InputError, match=r"adapter_config\.json: names no base_model_name_or_path"):
        adapter_base(adapter)


def test_an_end_token_may_be_written_in_several_ways(model: Path) -> None:
    """As an object with its content, or in special_tokens_map.json, as older tokenizers do."""
    edit(model / "tokenizer_config.json", eos_token={"content": "</s>", "special": True})
    check_model(str(model))
    edit(model / "tokenizer_config.json", eos_token=None)
    (model / "special_tokens_map.json").write_text('{"eos_token": "</s>"}')
    check_model(str(model))


def test_a_tokenizer_that_cannot_be_loaded_is_named(model: Path) -> None:
    """Where its files do not name the end token, the tokenizer itself is asked, and may be damaged."""
    (model / "tokenizer_config.json").unlink()
    (model / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "Nonsense"}}')
    with pytest.raises(InputError, match="model: its tokenizer cannot be loaded"):
        check_model(str(model))


@pytest.mark.parametrize("name", ["./none", "/none/at/all", "a/b/c", "~/none"])
def test_a_path_without_a_model_is_named(name: str) -> None:
    """What looks like a path is not looked for on a hub."""
    with pytest.raises(InputError, match=r"no such model directory; expected config\.json"):
        check_model(name)


def test_a_file_is_no_model(model: Path) -> None:
    """The directory is expected, not the weights in it."""
    with pytest.raises(InputError, match="no such model directory"):
        check_model(str(model / "model.safetensors"))
