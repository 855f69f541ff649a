"""Probes that were made before and are taken over (`--knowledge`): whether they measured what the study would have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from slick.errors import Mistakes
from slick.exemplars import exemplar_pools
from slick.facts import Fact
from slick.files import digest_of, mapping_of
from slick.knowledge_file import KnowledgeFile, read_knowledge
from slick.matching import Matching
from slick.provenance import same_model
from slick.rows import nearest
from slick.runs import differences
from slick.sampled import PAPER
from slick_sft.study.grid import SPLITS
from slick_sft.study.jobs import n_before_of

EXACT = "exact"
# What makes a category: a probe that has another value of any measured other categories.
_DECISIVE: Mapping[str, Any] = {
    **{name: value for name, value in PAPER.as_dict().items() if name != "n_before"},
    "matching": str(Matching.STRICT),
    "chat": {"template": False, "multiturn": False, "system": ""},
}
_SEED = 0


def check_known(known: Mapping[str, str], base: Mapping[str, Any], facts: Sequence[Fact]) -> list[str]:
    """What is to be known of the probes that are taken over, split → probe.

    base: the fingerprint of the study's model. facts: all of the study's. InputError, with all that is wrong, for a
    probe of another model, and for one whose categories do not mean what the study's own would.
    """
    found = []
    with Mistakes("probes that were made before:") as mistakes:
        for split, path in known.items():
            where = f"--knowledge {split}={path}"
            if split not in SPLITS:
                mistakes.add(f"{where}: expected one of {', '.join(SPLITS)} before the ={nearest(split, SPLITS)}")
                continue
            read = read_knowledge(path)
            probed = mapping_of(read.provenance.get("model"))
            if not same_model(probed, base):
                mistakes.add(
                    f"{where}: is the knowledge of another model ({probed.get('name')}, weights "
                    f"{str(probed.get('weights'))[:12]}) than --model {base.get('name')} (weights "
                    f"{str(base.get('weights'))[:12]}); probe this model"
                )
            elif other := _other_categories(read):
                mistakes.add(
                    f"{where}: its categories mean something else than those of the study's own probes: "
                    f"{'; '.join(other)}; probe again without these settings, or leave it out"
                )
            found += [f"{where}: {remark}" for remark in remarks(read, split, facts)]
    return found


def remarks(read: KnowledgeFile, split: str, facts: Sequence[Fact]) -> list[str]:
    """How a probe that may be taken over differs from the study's own probe of that split, besides its facts."""
    settings = mapping_of(read.provenance.get("settings"))
    lacking = [name for name in ("estimator", *_DECISIVE) if name not in settings]
    found = [f"does not record its {', '.join(lacking)}"] if lacking else []
    method = str(settings.get("estimator", EXACT))
    if method != EXACT:
        found.append(
            f"estimator: there {method!r}, the study's {EXACT!r}; its categories have sampling noise, which those of "
            "the study's own probes have not"
        )
    seed, n_before = settings.get("seed", _SEED), int(settings.get("n_before") or 0)
    if seed != _SEED:
        found.append(f"seed: there {seed!r}, the study's {_SEED}; its exemplar sets are others")
    elif _pools_digest(read, facts, seed) != settings.get("exemplars", _pools_digest(read, facts, seed)):
        found.append("exemplars: there of other facts than the study's")
    if n_before < n_before_of(split):
        found.append(f"n_before: there {n_before}, the study's {n_before_of(split)}; the unbiased before is the poorer")
    return found


def _other_categories(read: KnowledgeFile) -> list[str]:
    settings = mapping_of(read.provenance.get("settings"))
    there = {name: settings[name] for name in _DECISIVE if name in settings}
    own = {name: _DECISIVE[name] for name in there}
    return [f"{name}: there {old!r}, the study's {new!r}" for name, old, new in differences(there, own)]


def _pools_digest(read: KnowledgeFile, facts: Sequence[Fact], seed: int) -> str:
    """Of the facts that exemplars of the probed facts come from, as a probe of the study's facts records it."""
    pools = exemplar_pools(facts, [k.fact for k in read.knowledge], seed=seed)
    return digest_of({relation: [fact.id for fact in pool] for relation, pool in pools.items()})
