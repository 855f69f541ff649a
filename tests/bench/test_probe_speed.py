"""Facts a second for a full categorisation: stock lm-eval, two-stage samples on slick-hf, and exact.

All three in one process, on the same model and facts of the same relations, in float32. Ratios are what counts:
the machine's own speed is measured beside them, as large matrix products.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slick.backend import Backend, load_backend
from slick.exemplars import exemplar_pools
from slick.facts import Fact, of_split, sample_facts
from slick.probe import Probe, run_probe
from slick.sampled import PAPER, count_right, probe_prompts
from slick_tasks.lab import load_facts, organism_path

pytestmark = pytest.mark.bench

# The protocol alone, without the five fresh sets of the "before" measurement.
PROTOCOL = replace(PAPER, n_before=0)
# Facts for stock lm-eval, which needs a second or more for each, for samples and for exact.
FACTS = {"organism": (24, 128, 1024), "llama-width-256": (6, 24, 1024)}
COUNTED = 256
# How cost grows with the number of facts is measured under two exemplar sets, a fifth of the protocol.
GROWTH = (500, 5_000, 50_000)
GROWTH_SETS = 2
# Weights that take part in a token's products: 4 layers of attention and feed-forward, and the output head.
WIDE_WEIGHTS = 4 * (4 * 256**2 + 3 * 256 * 688) + 256 * 1024
# The bars: exact and sampled over stock.
BARS = {"organism": (120, 5), "llama-width-256": (150, 5)}


def _wide_model(path: Path) -> Path:
    """A Llama of 4 layers, width 256, with random weights and the organism's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(organism_path())
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_exact_and_shared_prefixes_against_stock_lm_eval(
    work: Path, write_result: Callable[..., None], bars: Callable[..., str], reports: Path
) -> None:
    """Exact is at least 120 (organism) and 150 times (width 256) as fast as stock lm-eval, samples 5 times."""
    _use_all_cores()
    result = {
        "organism": _measure("organism", organism_path(), work),
        "llama-width-256": _measure("llama-width-256", _wide_model(work / "wide"), work),
        "growth": [_in_process_of_its_own(n, organism_path(), GROWTH_SETS) for n in GROWTH],
    }
    write_result("probe", result)
    (reports / "benchmarks" / "probe.md").write_text(_table(result), encoding="utf-8")
    (reports / "benchmarks" / "probe.svg").write_text(_picture(result, bars), encoding="utf-8")
    for name, (exact, sampled) in BARS.items():
        assert result[name]["exact_over_stock"] >= exact
        assert result[name]["sampled_over_stock"] >= sampled


def _measure(name: str, model: Path, work: Path) -> dict[str, Any]:
    stock_n, sampled_n, exact_n = FACTS[name]
    stock, ours = (load_backend(kind, str(model), batch_size=size) for kind, size in (("hf", 64), ("slick-hf", 128)))
    before = _matmul_rate()
    # Each method is run on a few facts first: what is set up once is no fact's cost.
    rates = {
        "stock": _rate(lambda facts: _stock(stock, facts), stock_n),
        "sampled": _rate(
            lambda facts: _probe(ours, facts, work / f"{name}-sampled-{len(facts)}", exact=False), sampled_n
        ),
        "exact": _rate(lambda facts: _probe(ours, facts, work / f"{name}-exact-{len(facts)}", exact=True), exact_n),
    }
    rate = (before + _matmul_rate()) / 2
    flops = _flops(ours, COUNTED)
    return {
        **{f"{method}_facts_per_s": round(value, 3) for method, value in rates.items()},
        "exact_over_stock": round(rates["exact"] / rates["stock"], 1),
        "sampled_over_stock": round(rates["sampled"] / rates["stock"], 1),
        "matmul_share": round(flops * rates["exact"] / rate, 3),
        "matmul_flop_per_s": round(rate),
        "exact_flop_per_fact": round(flops),
        "peak_memory_mb": _in_process_of_its_own(exact_n, model, PAPER.n_exemplar_sets)["peak_memory_mb"],
        "facts": dict(zip(("stock", "sampled", "exact"), FACTS[name], strict=True)),
        "threads": _threads(),
    }


def _facts(n: int) -> list[Fact]:
    """n of the lab's test facts, spread over its relations; beyond all of them, the same facts under new names."""
    facts = of_split(load_facts(), "test")
    if n <= len(facts):
        return sample_facts(facts, n, seed=0)
    return [
        Fact.create(
            fact.question.replace(fact.subject, f"{fact.subject} {i // len(facts)}"),
            fact.answers,
            relation=fact.relation,
            subject=f"{fact.subject} {i // len(facts)}",
            split="test",
        )
        for i in range(n)
        for fact in [facts[i % len(facts)]]
    ]


def _rate(method: Callable[[Sequence[Fact]], None], n: int) -> float:
    method(_facts(2))
    facts = _facts(n)
    start = time.perf_counter()
    method(facts)
    return n / (time.perf_counter() - start)


def _asked(facts: Sequence[Fact], *, exact: bool, n_sets: int = PAPER.n_exemplar_sets) -> Probe:
    protocol = replace(PROTOCOL, n_exemplar_sets=n_sets)
    return Probe(facts, exemplar_pools(load_facts(), facts, seed=0), {}, protocol, exact=exact)


def _stock(backend: Backend, facts: Sequence[Fact]) -> None:
    """The 170 requests of each fact, as `lm_eval --model hf --tasks slick_lab` issues them."""
    from lm_eval.api.instance import Instance

    probe = _asked(facts, exact=False)
    sets = probe.exemplar_sets()
    e = PROTOCOL
    requests = []
    for fact in probe.facts:
        prompts = probe_prompts(fact, sets[fact.relation][0])
        asked = [(p, e.greedy_kwargs()) for p in prompts]
        asked += [(p, e.sampled_kwargs()) for p in prompts for _ in range(e.n_samples)]
        requests += [Instance("generate_until", {}, args, i) for i, args in enumerate(asked)]
    answers = iter(backend.lm.generate_until(requests, disable_tqdm=True))
    for fact in probe.facts:
        greedy = [next(answers) for _ in range(e.n_exemplar_sets)]
        count_right(fact, greedy, [[next(answers) for _ in range(e.n_samples)] for _ in greedy])


def _probe(
    backend: Backend, facts: Sequence[Fact], out: Path, *, exact: bool, n_sets: int = PAPER.n_exemplar_sets
) -> None:
    # A finished run is not done again.
    shutil.rmtree(out, ignore_errors=True)
    run_probe(_asked(facts, exact=exact, n_sets=n_sets), backend, out)


def _matmul_rate() -> float:
    """Floating-point operations a second of large float32 products, the best of five."""
    import torch

    a, b = torch.randn(2, 2048, 2048)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(times)


def _flops(backend: Backend, n: int) -> float:
    """Operations of all matrix products of an exact probe, a fact, counted while they run."""
    from torch.utils.flop_counter import FlopCounterMode

    probe = _asked(_facts(n), exact=True)
    sets = probe.exemplar_sets()
    requests = [
        probe.exact_request(prompt, fact)
        for fact in probe.facts
        for prompt in probe_prompts(fact, sets[fact.relation][0])
    ]
    with FlopCounterMode(display=False) as counter:
        backend.exact(requests)
    return float(counter.get_total_flops()) / n


def _use_all_cores() -> None:
    """The tests use one core each; a user's probe does not."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))


def _threads() -> int:
    import torch

    return int(torch.get_num_threads())


def _in_process_of_its_own(n: int, model: Path, n_sets: int) -> dict[str, Any]:
    """Seconds and peak memory of an exact probe of n facts, without what another measurement left behind."""
    done = subprocess.run(
        [sys.executable, __file__, str(n), str(model), str(n_sets)],
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ},
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _grow(n: int, model: str, n_sets: int) -> dict[str, Any]:
    import tempfile

    _use_all_cores()
    backend = load_backend("slick-hf", model, batch_size=128)
    facts = _facts(n)
    start_memory = _peak_kib()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        _probe(backend, facts, Path(out) / "run", exact=True, n_sets=n_sets)
        seconds = time.perf_counter() - start
    peak = _peak_kib()
    return {
        "facts": n,
        "seconds": round(seconds, 1),
        "facts_per_s": round(n / seconds, 1),
        "memory_before_mb": round(start_memory / 1024),
        "peak_memory_mb": round(peak / 1024),
    }


def _picture(result: Mapping[str, Any], bars: Callable[..., str]) -> str:
    kinds = (("stock", "stock lm-eval"), ("sampled", "two-stage samples"), ("exact", "exact"))
    groups = {}
    for name in FACTS:
        r = result[name]
        rates = {kind: r[f"{kind}_facts_per_s"] for kind, _ in kinds}
        groups[name] = [
            (
                label,
                rates[kind],
                f"{rates[kind]:.3g}" + ("" if kind == "stock" else f"  ({r[f'{kind}_over_stock']:.3g} ×)"),
            )
            for kind, label in kinds
        ]
    return bars("Facts a second for a full SliCK categorisation", "two CPU cores, logarithmic axis", groups)


def _peak_kib() -> int:
    """This program's peak memory; ru_maxrss would be the parent's where that was larger."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _table(result: Mapping[str, Any]) -> str:
    lines = [
        "# How fast a probe is",
        "`make bench` on two CPU cores, float32, one process a model. Facts a second for a full categorisation",
        "(10 exemplar sets, 16 samples each). Ratios hold elsewhere, seconds do not.",
        "",
        "![Facts a second, by model and method](probe.svg)",
        "",
        "| model | stock lm-eval, 170 requests | two-stage samples, slick-hf | exact | samples over stock "
        "| exact over stock | of the matrix-product rate | peak memory |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in FACTS:
        r = result[name]
        lines.append(
            f"| {name} | {r['stock_facts_per_s']:.2f} | {r['sampled_facts_per_s']:.1f} | {r['exact_facts_per_s']:.1f} "
            f"| {r['sampled_over_stock']:.1f} | **{r['exact_over_stock']:.0f}** | {100 * r['matmul_share']:.0f} % "
            f"| {r['peak_memory_mb']} MB |"
        )
    lines += [
        "",
        f"Exact, on the organism, by the number of facts (a process each, {GROWTH_SETS} exemplar sets):",
        "",
        "| facts | seconds | facts a second | memory before | peak memory |",
        "|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {g['facts']:,} | {g['seconds']} | {g['facts_per_s']} | {g['memory_before_mb']} MB "
        f"| {g['peak_memory_mb']} MB |"
        for g in result["growth"]
    ]
    wide = result["llama-width-256"]
    answered = PAPER.n_exemplar_sets * PAPER.n_samples * PAPER.max_gen_toks * 2 * WIDE_WEIGHTS
    lines += [
        "",
        f"The random model of width 256 knows nothing and writes every answer to its limit of {PAPER.max_gen_toks} "
        "tokens, so that all samples of",
        f"all facts are drawn, {answered / 1e9:.0f} GFLOP a fact in its weights alone: at this machine's rate of large "
        f"products {wide['matmul_flop_per_s'] / answered:.1f} facts a second,",
        f"{wide['matmul_flop_per_s'] / answered / wide['stock_facts_per_s']:.0f} times stock lm-eval, would be "
        "the end. Exact stops at the products' rate for",
        "rows of a few tokens and at the keys and values that are copied in front of them.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(json.dumps(_grow(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
