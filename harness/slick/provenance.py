"""Where a result comes from: the model's fingerprint and the versions of the libraries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from slick import __version__
from slick.errors import InputError
from slick.files import digest_of, read_json, sha256_of

_LIBRARIES = ("lm_eval", "torch", "transformers", "trl", "peft", "datasets", "tokenizers")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
)


def library_versions() -> dict[str, str]:
    """Versions of slick and of the libraries that a result may depend on."""
    return {"slick": __version__, **versions_of(_LIBRARIES)}


def versions_of(libraries: Iterable[str]) -> dict[str, str]:
    """The versions of those libraries that are installed."""
    found = {}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def fingerprint(model: str) -> dict[str, Any]:
    """What a model is: SHA-256 of a local directory's weights, adapter, tokenizer and chat template.

    A name that is no directory is recorded as it stands (a hub name or a served model); its weights are then
    None, and two such runs are the same only by name.
    """
    path = Path(model)
    if not path.is_dir():
        return {"name": model, "weights": None, "adapter": None, "tokenizer": None, "chat_template": None}
    adapter = sorted(path.glob("adapter_model*.safetensors"))
    weights = sorted(set(path.glob("*.safetensors")) - set(adapter))
    if adapter and not weights:
        base = fingerprint(adapter_base(path))
        return {**base, "name": model, "adapter": sha256_of(*adapter, path / "adapter_config.json")}
    tokenizer = [path / name for name in _TOKENIZER_FILES if (path / name).exists()]
    return {
        "name": model,
        "weights": sha256_of(*weights) if weights else None,
        "adapter": None,
        "tokenizer": sha256_of(*tokenizer) if tokenizer else None,
        "chat_template": _chat_template_digest(path),
    }


def same_model(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two fingerprints are of the same model: by weights and adapter where known, else by name."""
    if a.get("weights") and b.get("weights"):
        return a["weights"] == b["weights"] and a.get("adapter") == b.get("adapter")
    return a.get("name") == b.get("name")


def is_adapter(path: Path) -> bool:
    return (path / "adapter_config.json").exists() and not (path / "config.json").exists()


def adapter_base(path: Path) -> str:
    """The base model that a LoRA adapter's directory names."""
    base = _read_object(path / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise InputError(f"{path / 'adapter_config.json'}: names no base_model_name_or_path")
    return base


def check_model(model: str) -> None:
    """Raise InputError where a local model directory cannot serve: weights, tokenizer or end token missing.

    A name that is no directory passes (the backend resolves it), unless it looks like a path.
    """
    path = Path(model)
    if not path.is_dir():
        if path.exists() or model.startswith((".", "/", "~")) or model.count("/") > 1:
            raise InputError(f"{model}: no such model directory; expected config.json, *.safetensors and a tokenizer")
        return
    if is_adapter(path):
        _check_weights(path, "adapter_model*.safetensors")
        check_model(adapter_base(path))
        return
    if not (path / "config.json").exists():
        raise InputError(f"{path}: has no config.json; expected a directory that transformers' save_pretrained wrote")
    _read_object(path / "config.json")
    _check_weights(path, "*.safetensors")
    if not any((path / name).exists() for name in _TOKENIZER_FILES):
        raise InputError(
            f"{path}: has no tokenizer; expected one of {', '.join(_TOKENIZER_FILES[:3])}; "
            "save it there with tokenizer.save_pretrained"
        )
    if not _end_token(path):
        raise InputError(
            f"{path}: its tokenizer names no end-of-sequence token, so an answer could never end; "
            'set "eos_token" in tokenizer_config.json'
        )


def _check_weights(path: Path, pattern: str) -> None:
    """Raise InputError unless `path` has weights of that name and every file of them is whole."""
    from safetensors import SafetensorError, safe_open

    files = sorted(path.glob(pattern))
    if not files:
        others = sorted(p.name for p in path.glob("*.bin"))
        raise InputError(
            f"{path}: has no {pattern} weights"
            + (f" (found {others}, which are pickles; convert them with save_pretrained)" if others else "")
        )
    for file in files:
        try:
            with safe_open(file, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise InputError(f"{file}: not readable weights ({error}); the file may be half-written") from error


def _read_object(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(found).__name__}")
    return found


def _end_token(path: Path) -> str | None:
    """The tokenizer's end-of-sequence token; falls back on transformers where the files do not say."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (path / name).exists():
            token = _read_object(path / name).get("eos_token")
            if isinstance(token, dict):
                token = token.get("content")
            if token:
                return str(token)
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(str(path)).eos_token
    except Exception as error:  # of a damaged file the tokenizers library raises anything, Exception itself too
        raise InputError(f"{path}: its tokenizer cannot be loaded ({error})") from error
    return str(found) if found else None


def _chat_template_digest(path: Path) -> str | None:
    if (path / "chat_template.jinja").exists():
        return sha256_of(path / "chat_template.jinja")
    config = path / "tokenizer_config.json"
    template = _read_object(config).get("chat_template") if config.exists() else None
    return digest_of(template) if template else None
