"""The gate's policy: what may be lost, how surely it must be shown, and how the arms are trained. A YAML file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slick.errors import InputError, Mistakes
from slick.files import replacing
from slick.knowledge import CATEGORIES, KNOWN
from slick.matching import ABSTENTIONS, Matching, first_line, normalize
from slick.prompts import check_form
from slick.rows import nearest, shown
from slick_sft.arguments import public
from slick_sft.values import MisfitError, between, one_of, text, whole_from
from slick_sft.yaml_text import load_yaml

VERSION = 1
POLICY = "slick-gate.yaml"
SCHEMA_FILE = "slick-gate.schema.json"
ALL = "all"
GROUPS = (ALL, "Known", *map(str, CATEGORIES))
INCONCLUSIVE = ("report", "fail", "pass")
ZERO_WEIGHT, BASE, BASELINE = "zero-weight", "base", "baseline"
CLUSTERS = ("subject", "relation", "question")
METHODS = ("full", "lora", "qlora")


@dataclass(frozen=True, slots=True)
class Control:
    """What the candidate is compared with. kind: ZERO_WEIGHT, BASE or BASELINE; name: of the baseline."""

    kind: str = ZERO_WEIGHT
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The facts that every arm is asked. relations: only theirs, all if empty. limit: a seeded draw of so many, None
    for all."""

    facts: str = ""
    split: str = ""
    relations: tuple[str, ...] = ()
    limit: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "facts": self.facts,
            "split": self.split,
            "relations": list(self.relations),
            "limit": self.limit,
        }


@dataclass(frozen=True, slots=True)
class Tuning:
    """How every arm is trained; None where the method's own default holds. settings: fields of TRL's SFTConfig."""

    method: str = "full"
    learning_rate: float | None = None
    epochs: float | None = None
    batch_size: int | None = None
    lora_r: int = 16
    lora_alpha: int = 32
    settings: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "lora_r": self.lora_r,
            "lora_alpha": self.lora_alpha,
            "settings": public(self.settings),
        }


@dataclass(frozen=True, slots=True)
class Noise:
    """What was measured of the noise, by --self-check: for saying beforehand what a margin needs. Fractions.

    discordant: facts on which two single runs differ. seeds_sd: how far seeds' accuracies lie apart, beyond what their
    facts explain.
    """

    discordant: float = 0.10
    seeds_sd: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {"discordant": self.discordant, "seeds_sd": self.seeds_sd}


@dataclass(frozen=True, slots=True)
class Policy:
    """margins: group of facts → the loss of right answers that is too much; hallucination: group → the rise of wrong
    answers that do not abstain. Fractions. abstain: texts that abstain, besides the usual ones, normalized. clusters:
    fields of a fact; facts alike in all of them belong together. matching: None for what the runs recorded."""

    margins: Mapping[str, float]
    hallucination: Mapping[str, float] = field(default_factory=dict)
    clusters: tuple[str, ...] = ("subject",)
    seeds: int = 3
    looks: int = 1
    level: float = 0.90
    inconclusive: str = "report"
    control: Control = Control()
    matching: Matching | None = None
    abstain: tuple[str, ...] = ()
    form: str = ""
    held_out: HeldOut = HeldOut()
    tuning: Tuning = Tuning()
    noise: Noise = Noise()
    baseline_days: int = 90

    def abstains(self, answer: str) -> bool:
        """Whether an answer declines to answer."""
        return (normal := normalize(first_line(answer))) in ABSTENTIONS or normal in self.abstain

    def as_dict(self) -> dict[str, Any]:
        """As a policy file has it: margins, level and noise in percent."""
        return {
            "version": VERSION,
            "margins": {name: _percent(m) for name, m in self.margins.items()},
            "hallucination": {name: _percent(m) for name, m in self.hallucination.items()},
            "clusters": list(self.clusters),
            "seeds": self.seeds,
            "looks": self.looks,
            "level": _percent(self.level),
            "inconclusive": self.inconclusive,
            "control": str(self.control),
            **({"matching": str(self.matching)} if self.matching else {}),
            "abstain": list(self.abstain),
            **({"form": self.form} if self.form else {}),
            "held_out": {k: v for k, v in self.held_out.as_dict().items() if v},
            "tuning": {k: v for k, v in self.tuning.as_dict().items() if v not in (None, {})},
            "noise": {name: _percent(value) for name, value in self.noise.as_dict().items()},
            "baseline_days": self.baseline_days,
        }


def read_policy(path: Path) -> Policy:
    """The policy in a YAML file. Raises InputError that lists all its mistakes, with the nearest names that there
    are."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such policy; write one with slick gate --init") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return policy_of(load_yaml(content, str(path)), str(path))


def policy_of(given: Any, where: str) -> Policy:
    """The policy that these settings describe; `Policy.as_dict` is its inverse. InputError with all mistakes."""
    with Mistakes(f"{where}: not a policy:") as mistakes:
        fields = _fields(given, _KEYS, "", mistakes)
        if not isinstance(given, Mapping):
            pass
        elif not given.get("margins") and not given.get("hallucination"):
            mistakes.add("margins: missing; expected what may be lost, such as margins: {Known: 2}")
        fields.pop("version", None)
        fields.setdefault("margins", {})
    return Policy(**fields)


def write_template(path: Path) -> list[Path]:
    """Writes a commented policy to `path`, and its JSON schema beside it for an editor. InputError where one is."""
    if path.exists():
        raise InputError(f"{path}: exists already; remove it, or name another file")
    schema = path.parent / SCHEMA_FILE
    for file, name in ((schema, "policy.schema.json"), (path, "policy.yaml")):
        with replacing(file) as temporary:
            temporary.write_bytes(Path(__file__).with_name(name).read_bytes())
    return [path, schema]


Read = Callable[[Any, Mistakes, str], Any]


def _fields(given: Any, keys: Mapping[str, tuple[str, Read]], where: str, mistakes: Mistakes) -> dict[str, Any]:
    """Key by key what is given, as fields; unknown keys and values that do not fit go to `mistakes`."""
    if not isinstance(given, Mapping):
        mistakes.add(f"{where.rstrip('.') or 'the file'}: expected a mapping, found {shown(given)}")
        return {}
    found = {}
    for key, value in given.items():
        if key not in keys:
            meant = nearest(key, keys) if isinstance(key, str) else ""
            mistakes.add(
                f"{where}{key if isinstance(key, str) and key.isprintable() else shown(key)}: no key of a "
                f"policy{meant or '; expected ' + ', '.join(keys)}"
            )
            continue
        name, read = keys[key]
        try:
            found[name] = read(value, mistakes, f"{where}{key}")
        except MisfitError as wrong:
            mistakes.add(f"{where}{key}: expected {wrong}, found {shown(value)}")
    return found


def _plain(read: Callable[[object], Any]) -> Read:
    """A reader of single values, which needs not know where they stand."""
    return lambda value, *_: read(value)


def _number(low: float, high: float, what: str, *, scale: float = 1.0, closed: bool = False) -> Read:
    number = between(low, high, what, closed=closed)
    # Twelve digits: 2 points are 0.02, whatever binary fractions make of it.
    return _plain(lambda value: float(f"{number(value) / scale:.12g}"))


_text, _count = _plain(text), _plain(whole_from(1))


def _margins(value: Any, mistakes: Mistakes, where: str) -> dict[str, float]:
    """Group → fraction. The file has points."""
    points = _number(0, 100, "points, more than 0 and less than 100", scale=100)
    return _fields(value, {group: (group, points) for group in GROUPS}, f"{where}.", mistakes)


def _clusters(value: Any, *_: object) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [] if value in (None, "none") else [value]
    return tuple(dict.fromkeys(map(one_of(CLUSTERS), names)))


def _control(value: Any, *_: object) -> Control:
    kind, _space, name = value.strip().partition(" ") if isinstance(value, str) else ("", "", "")
    if kind not in (ZERO_WEIGHT, BASE, BASELINE) or (kind == BASELINE) != bool(name.strip()):
        meant = nearest(kind, (ZERO_WEIGHT, BASE, BASELINE)) if kind not in (BASELINE, "") else ""
        raise MisfitError(f"{ZERO_WEIGHT}, {BASE}, or {BASELINE} NAME{meant}")
    return Control(kind, name.strip())


def _matching(value: Any, *_: object) -> Matching:
    return Matching(one_of(Matching)(value))


def _abstain(value: Any, *_: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) and normalize(item) for item in value):
        raise MisfitError('a list of texts, such as ["I cannot tell"]')
    return tuple(dict.fromkeys(normalize(item) for item in value))


def _form(value: Any, *_: object) -> str:
    if not isinstance(value, str):
        raise MisfitError("a text that holds {question}")
    try:
        return check_form(value)
    except InputError as error:
        raise MisfitError(f"a text that holds {{question}} once and does not end in a space ({error})") from error


def _version(value: Any, *_: object) -> int:
    if value != VERSION or isinstance(value, bool):
        raise MisfitError(f"{VERSION}, the version of policies that this slick reads")
    return VERSION


def _held_out(value: Any, mistakes: Mistakes, where: str) -> HeldOut:
    return HeldOut(**_fields(value, _HELD_OUT, f"{where}.", mistakes))


def _tuning(value: Any, mistakes: Mistakes, where: str) -> Tuning:
    return Tuning(**_fields(value, _TUNING, f"{where}.", mistakes))


def _noise(value: Any, mistakes: Mistakes, where: str) -> Noise:
    return Noise(**_fields(value, _NOISE, f"{where}.", mistakes))


def _relations(value: Any, *_: object) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    good = isinstance(names, list) and names
    if not good or not all(isinstance(n, str) and n.strip() and n.isprintable() and "," not in n for n in names):
        raise MisfitError("a relation or a list of them, such as [P17, P19]")
    return tuple(dict.fromkeys(name.strip() for name in names))


def _settings(value: Any, mistakes: Mistakes, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise MisfitError("a mapping of fields of TRL's SFTConfig, such as {warmup_steps: 10}")
    for name in value:
        # Said without its value.
        if not public({name.strip().replace("-", "_"): None}):
            mistakes.add(
                f"{where}.{name}: a secret has no place in a policy, which is committed and recorded; take it out, and "
                "give it in the environment (HF_TOKEN)"
            )
    return public(value)


_HELD_OUT: dict[str, tuple[str, Read]] = {
    "facts": ("facts", _text),
    "split": ("split", _text),
    "relations": ("relations", _relations),
    "limit": ("limit", _count),
}
_TUNING: dict[str, tuple[str, Read]] = {
    "method": ("method", _plain(one_of(METHODS))),
    "learning_rate": ("learning_rate", _number(0, float("inf"), "a number above 0")),
    "epochs": ("epochs", _number(0, float("inf"), "a number above 0")),
    "batch_size": ("batch_size", _count),
    "lora_r": ("lora_r", _count),
    "lora_alpha": ("lora_alpha", _count),
    "settings": ("settings", _settings),
}
_NOISE: dict[str, tuple[str, Read]] = {
    "discordant": ("discordant", _number(0, 100, "percent, more than 0 and less than 100", scale=100)),
    "seeds_sd": ("seeds_sd", _number(0, 100, "points, from 0 to less than 100", scale=100, closed=True)),
}
# Key of a policy file → field of Policy, and what reads the value.
_KEYS: dict[str, tuple[str, Read]] = {
    "version": ("version", _version),
    "margins": ("margins", _margins),
    "hallucination": ("hallucination", _margins),
    "clusters": ("clusters", _clusters),
    "seeds": ("seeds", _count),
    "looks": ("looks", _count),
    "level": ("level", _number(50, 100, "percent, more than 50 and less than 100", scale=100)),
    "inconclusive": ("inconclusive", _plain(one_of(INCONCLUSIVE))),
    "control": ("control", _control),
    "matching": ("matching", _matching),
    "abstain": ("abstain", _abstain),
    "form": ("form", _form),
    "held_out": ("held_out", _held_out),
    "tuning": ("tuning", _tuning),
    "noise": ("noise", _noise),
    "baseline_days": ("baseline_days", _count),
}


def gated_groups(policy: Policy) -> Iterable[str]:
    """The groups of facts that the policy gates, each once."""
    return dict.fromkeys([*policy.margins, *policy.hallucination])


def knows(group: str) -> tuple[str, ...]:
    """The categories that a group of facts is made of; none for all facts, with or without a category."""
    return () if group == ALL else tuple(map(str, KNOWN)) if group == "Known" else (group,)


def _percent(fraction: float) -> float:
    return float(f"{100 * fraction:.12g}")
