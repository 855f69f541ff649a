"""The verbs of the core: probe and score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from slick import options as o
from slick.errors import InputError, RunError
from slick.knowledge import Estimator
from slick.matching import Matching
from slick.prompts import DEFAULT_FORM

if TYPE_CHECKING:
    from pathlib import Path

    from slick.backend import Backend
    from slick.plan import Plan
    from slick.probe import Probe
    from slick.processes import Processes
    from slick.runs import Run

VERIFICATION = "verification.json"


def probe(
    model: o.Model,
    facts: o.Facts,
    out: o.Out,
    split: o.Split = "",
    relations: o.Relations = "",
    limit: o.Limit = 0,
    exemplars: Annotated[str, typer.Option(help="Facts to draw exemplars from, instead of the dev split.")] = "",
    backend: o.BackendName = "slick-hf",
    model_args: o.ModelArgs = [],  # noqa: B006  typer copies it
    batch_size: o.BatchSize = "128",
    device: o.Device = "",
    n_exemplar_sets: Annotated[int, typer.Option(help="Exemplar sets a relation (N_ex).")] = 10,
    n_exemplars: Annotated[int, typer.Option(help="Exemplars a set (k).")] = 4,
    n_samples: Annotated[int, typer.Option(help="Samples an exemplar set (N_sample).")] = 16,
    temperature: Annotated[float, typer.Option(help="Temperature of the samples.")] = 0.5,
    top_k: Annotated[int, typer.Option(help="Samples come from the top k tokens.")] = 40,
    max_gen_toks: o.MaxGenToks = 32,
    n_before: Annotated[int, typer.Option(help="Fresh exemplar sets for the unbiased before; 0 for none.")] = 5,
    estimator: Annotated[
        Estimator, typer.Option(help="sampled: generate, as the paper does. exact: compute what samples estimate.")
    ] = Estimator.SAMPLED,
    all_samples: Annotated[
        bool, typer.Option("--all-samples", help="Sample every fact, not only undecided ones.")
    ] = False,
    verify: Annotated[
        int, typer.Option(help="After an exact probe, draw the sampled protocol on so many facts and compare.", min=0)
    ] = 0,
    matching: o.MatchingOption = Matching.STRICT,
    apply_chat_template: o.ApplyChat = False,
    fewshot_as_multiturn: o.Multiturn = False,
    system_instruction: o.System = "",
    store: o.StoreFile = "",
    no_store: o.NoStore = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only print what it would cost and what it could show, after some seconds.")
    ] = False,
    seed: o.Seed = 0,
) -> None:
    """Measure what a model knows: P_Correct and the SliCK category of every fact.

    Sampled: greedy answers first, samples only where no greedy answer is right; the categories are the full
    protocol's. Exact: no generation and no sampling noise, one forward pass an exemplar set.

    \b
    Example:
      slick probe --model ./model --facts entityq --split train --limit 2000 --out runs/probe
    """
    from slick.batch_size import longest_of_probe
    from slick.exemplars import check_pools, exemplar_pools, pools_from_file
    from slick.probe import Probe, run_probe
    from slick.processes import joined
    from slick.reader import read_facts
    from slick.sampled import Sampled

    processes = joined()
    protocol = Sampled(n_exemplar_sets, n_exemplars, n_samples, temperature, top_k, max_gen_toks, n_before).check()
    if estimator is Estimator.EXACT and all_samples:
        raise InputError("--all-samples: the exact estimator draws none; leave it out, or use --estimator sampled")
    if verify and estimator is not Estimator.EXACT:
        raise InputError("--verify: compares the exact estimator with samples; add --estimator exact")
    selection = o.select(facts, split=split, relations=relations, limit=limit, seed=seed)
    if exemplars:
        pools = pools_from_file(read_facts(exemplars), selection.facts)
    else:
        pools = exemplar_pools(selection.source, selection.facts, seed=seed)
    check_pools(pools, selection.facts, k=n_exemplars)
    with o.remembering_backend(
        backend, model, model_args, batch_size, device, store=store, no_store=no_store, out=out
    ) as loaded:
        if estimator is Estimator.EXACT:
            loaded.check_exact()
        asked = Probe(
            selection.facts,
            pools,
            o.answer_priors(selection.source, pools),
            protocol,
            matching,
            loaded.chat(apply=apply_chat_template, multiturn=fewshot_as_multiturn, system=system_instruction),
            seed,
            all_samples,
            facts,
            estimator is Estimator.EXACT,
        )
        if processes.first:
            _say([*loaded.notes(exact=asked.exact), *loaded.unwritable(selection.facts)])
        loaded = o.sized(loaded, batch_size, out, lambda: longest_of_probe(asked))
        if plan:
            _plan(asked, loaded, out, processes)
            return
        run = run_probe(asked, loaded, out, processes)
        if processes.first:
            _print_probe(run)
            if verify:
                _verify(asked, loaded, run, verify)


def score(
    model: o.Model,
    out: o.Out,
    facts: o.Facts = "",
    knowledge: Annotated[
        str, typer.Option(help="A probe of the base model: its categories, and its facts if no --facts.")
    ] = "",
    split: o.Split = "",
    relations: o.Relations = "",
    limit: o.Limit = 0,
    form: Annotated[str, typer.Option(help="The zero-shot training form; holds {question}; \\n is a line break.")] = "",
    backend: o.BackendName = "slick-hf",
    model_args: o.ModelArgs = [],  # noqa: B006  typer copies it
    batch_size: o.BatchSize = "128",
    device: o.Device = "",
    max_gen_toks: o.MaxGenToks = 32,
    matching: o.MatchingOption = Matching.STRICT,
    apply_chat_template: o.ApplyChat = False,
    system_instruction: o.System = "",
    store: o.StoreFile = "",
    no_store: o.NoStore = False,
    seed: o.Seed = 0,
) -> None:
    """Score a model closed-book: exact match, zero-shot in the training form, by category of the base model.

    \b
    Example:
      slick score --model runs/known/model --knowledge runs/probe --out runs/known-score
    """
    from slick.batch_size import longest_of_score
    from slick.errors import InputError
    from slick.knowledge_file import read_knowledge
    from slick.processes import joined
    from slick.prompts import check_form
    from slick.score import Score, run_score
    from slick.training import read_training

    processes = joined()
    if not facts and not knowledge:
        raise InputError("nothing to score: give --facts, or --knowledge with the facts of a probe, or both")
    known = read_knowledge(knowledge) if knowledge else None
    training = read_training(model)
    wanted_form = check_form(form.replace("\\n", "\n") or str(training.get("form") or DEFAULT_FORM))
    categories = {k.fact.id: k.category for k in known.knowledge} if known else {}
    if facts:
        selection = o.select(facts, split=split, relations=relations, limit=limit, seed=seed)
    else:
        assert known is not None
        probed = [k.fact for k in known.knowledge]
        selection = o.select_known(probed, knowledge, split=split, relations=relations, limit=limit, seed=seed)
    if known and not any(fact.id in categories for fact in selection.facts):
        raise InputError(
            f"--knowledge {knowledge}: probed none of the {len(selection.facts)} facts of {facts}; "
            "probe these facts, or leave --knowledge out"
        )
    recorded = known.provenance.get("priors") if known else None
    conversational = bool(training.get("conversational"))
    with o.remembering_backend(
        backend, model, model_args, batch_size, device, store=store, no_store=no_store, out=out
    ) as loaded:
        asked = Score(
            selection.facts,
            categories,
            recorded or o.answer_priors(selection.source),
            wanted_form,
            matching,
            loaded.chat(apply=apply_chat_template or conversational, system=system_instruction),
            max_gen_toks,
            facts or f"{knowledge} (its facts)",
            training,
            known.provenance.get("model") if known else None,
        )
        if processes.first:
            _say(loaded.notes())
            if conversational and not apply_chat_template:
                _say(
                    ["tuned on conversations, so asked through its chat template; the base needs --apply-chat-template"]
                )
        loaded = o.sized(loaded, batch_size, out, lambda: longest_of_score(asked))
        run = run_score(asked, loaded, out, processes)
    if processes.first:
        _print_score(run)


def _plan(asked: Probe, loaded: Backend, out: Path, processes: Processes) -> None:
    """Prints what the probe would cost; `out` is looked at, and left as it is."""
    from slick.burst import make_plan
    from slick.probe import CHUNK
    from slick.run_writer import inspect_run

    finished = inspect_run(out, asked.settings(loaded), CHUNK)
    # Neither answered from the response store nor remembered in it.
    found = make_plan(asked, getattr(loaded, "inner", loaded), processes.size)
    if processes.first:
        _print_plan(found)
        if finished:
            print(f"{out}: this run is finished; repeating it asks nothing.")
    processes.meet().part()


def _print_plan(plan: Plan) -> None:
    from slick.plan import DISCORDANT, POWER
    from slick.statistics import LEVEL
    from slick.terminal import print_table

    header, *rows = plan.cost_rows()
    print_table(plan.title, header, rows)
    header = ("", "facts", "smallest difference", "if subjects fall as one")
    print_table("What so many facts can show", header, plan.power_rows())
    print(
        f"Smallest difference: the margin inside which an arm that lost nothing is shown with {POWER:.0%} power,\n"
        f"by paired facts, {DISCORDANT:.0%} of them right in one arm only, and a two-sided {LEVEL:.0%} interval."
    )
    for note in plan.notes:
        print(note)


def _say(notes: list[str]) -> None:
    for note in notes:
        typer.echo(f"slick: note: {note}", err=True)


def _print_probe(run: Run) -> None:
    from slick.knowledge import CATEGORIES, Category
    from slick.terminal import expected_share, percent, print_table, share

    found = next(iter(run.results["results"].values()))
    n = int(found["sample_len"])
    exact = "flagged,none" in found
    by_samples = (Category.WEAKLY_KNOWN, Category.UNKNOWN)
    rows = []
    for c in CATEGORIES:
        of = expected_share if exact and c in by_samples else share
        kept = found.get(f"keeps_{c.metric},none")
        rows.append((str(c), *of(found[f"{c.metric},none"], n), "undefined" if kept is None else percent(kept)))
    others = {"answer prior": "answer_prior"}
    if exact:
        others = {"flagged": "flagged", "numerically uncertain": "uncertain"} | others
    rows += [(name, *share(found[f"{m},none"], n), "") for name, m in others.items() if f"{m},none" in found]
    print_table(f"{n} facts probed", ("", "facts", "share", "90 % interval", "kept by other exemplars"), rows)
    if exact:
        print("WeaklyKnown and Unknown: expected facts, from the chance that samples would be right.")
        bound = found.get("largest_pruned,none")
        if bound is not None:
            print(f"P_Correct(T>0) of a fact falls short of the truth by {bound:.1g} at the most.")
        print("flagged: facts of which samples may well say the one or the other (5 to 95 %).")
    print(run.path)


def _verify(probe: Probe, backend: Backend, run: Run, n: int) -> None:
    """Writes and prints how samples compare with the exact estimator; RunError where they do not fit."""
    from slick.files import write_json
    from slick.terminal import print_table
    from slick.verify import LIMIT, verify

    found = verify(probe, backend, n)
    write_json(run.path / VERIFICATION, found.as_dict())
    print_table(
        f"{found.facts} facts drawn by the sampled protocol",
        ("", "found", "expected"),
        [
            ("greedy verdicts that differ", f"{found.greedy_differ} of {found.greedy}", "0"),
            ("facts left out as numerically uncertain", f"{found.uncertain}", ""),
            (f"right samples of {found.samples}", f"{found.right}", f"{found.expected:.1f} ± {found.noise:.1f}"),
            ("bias, in standard errors", f"{found.bias:+.2f}", "0 ± 1"),
            ("dispersion, in standard errors", f"{found.dispersion:+.2f}", "0 ± 1"),
            ("facts with another category", f"{found.category_differs}", ""),
            ("of them not flagged", f"{found.unflagged}", f"{found.unflagged_expected:.2f}"),
        ],
    )
    if not found.agrees:
        raise RunError(
            f"{run.path / VERIFICATION}: the exact estimator and samples do not agree on this model (a greedy verdict "
            f"differs, or bias or dispersion is beyond {LIMIT:g} standard errors); use --estimator sampled, and please "
            "report the model"
        )


def _print_score(run: Run) -> None:
    from slick.knowledge import CATEGORIES
    from slick.terminal import print_table, share

    found = next(iter(run.results["results"].values()))
    n = int(found["sample_len"])
    rows = [("all", *share(found["exact_match,none"], n))]
    for c in CATEGORIES:
        if f"{c.metric}_n,none" in found:
            rows.append((str(c), *share(found[f"exact_match_{c.metric},none"], found[f"{c.metric}_n,none"])))
    rows.append(("abstained", *share(found["abstained,none"], n)))
    if "answer_prior,none" in found:
        rows.append(("answer prior", *share(found["answer_prior,none"], n)))
    print_table(f"{n} facts scored, exact match", ("", "right", "share", "90 % interval"), rows)
    print(run.path)
