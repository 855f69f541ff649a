"""The verbs of what is done with knowledge: mix, tune, lab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slick import options as o
from slick.knowledge import Category, Knowledge
from slick.prompts import DEFAULT_FORM

if TYPE_CHECKING:
    from slick.facts import Fact
    from slick_sft.held_out import HeldOut
    from slick_sft.learning_rate import Found
    from slick_sft.organism import OrganismConfig
    from slick_sft.recipe import Recipe
    from slick_sft.recipes import MixRow


def mix(
    knowledge: Annotated[str, typer.Option(help="A probe of the base model: its directory, or knowledge.parquet.")],
    out: Annotated[Path, typer.Option(help="Directory for the set; must not exist yet.")],
    unknown: Annotated[
        float | None, typer.Option(help="Share of Unknown rows, from 0 (Known only) to 1; the rest is Known.")
    ] = None,
    category: Annotated[Category | None, typer.Option(help="Rows of this category alone.")] = None,
    natural: Annotated[bool, typer.Option("--natural", help="Categories in the shares they have.")] = False,
    recipe: Annotated[
        str, typer.Option(metavar="FILE|NAME", help="A recipe in YAML, or its name, such as unknown-50-zero-weight.")
    ] = "",
    shares: Annotated[
        str, typer.Option(help="Shares by category, such as MaybeKnown=0.6,Unknown=0.4; they add up to 1.")
    ] = "",
    cap: Annotated[float | None, typer.Option(help="Largest share of Unknown rows in any relation.")] = None,
    without: Annotated[
        list[Category], typer.Option(help="Take the rows of this category out of the mix; repeatable.")
    ] = [],  # noqa: B006  typer copies it
    idk: Annotated[bool, typer.Option("--idk", help='Unknown rows answer "I don\'t know".')] = False,
    zero_weight: Annotated[
        bool, typer.Option("--zero-weight", help="Unknown rows stay and weigh nothing: the control arm.")
    ] = False,
    weights: Annotated[
        str, typer.Option(help="Weights of rows, such as Unknown=0.2, or of their P_Correct, such as 1-p_greedy.")
    ] = "",
    stages: Annotated[
        str, typer.Option(help="Categories trained one after the other, such as MaybeKnown,HighlyKnown+WeaklyKnown.")
    ] = "",
    replay: Annotated[
        str, typer.Option(metavar="N[:CATEGORY]", help="N rows more, HighlyKnown ones, strewn among the others.")
    ] = "",
    patch: Annotated[str, typer.Option(metavar="N[:CATEGORY]", help="N rows more, Known ones, as a last stage.")] = "",
    name: Annotated[str, typer.Option(help="The recipe's name; by what it does if not given.")] = "",
    size: Annotated[
        int, typer.Option(help="Rows of the mix; if not given, the sum of each relation's smallest category.", min=0)
    ] = 0,
    split: o.Split = "",
    relations: o.Relations = "",
    allow_split: Annotated[
        list[str], typer.Option(help="Train on facts of this split too, though models are scored on it; repeatable.")
    ] = [],  # noqa: B006  typer copies it
    held_out: Annotated[
        list[str],
        typer.Option(help="Facts, or a probe, whose subjects must not be trained on; repeatable."),
    ] = [],  # noqa: B006  typer copies it
    model: Annotated[str, typer.Option(help="The model to be tuned; refuses knowledge of another.")] = "",
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Mix by the knowledge of another model; a note stays in the set.")
    ] = False,
    form: Annotated[
        str, typer.Option(help="The training form; holds {question}; \\n is a line break.")
    ] = DEFAULT_FORM.replace("\n", "\\n"),
    conversational: Annotated[
        bool, typer.Option("--conversational", help="Write messages, for the model's chat template.")
    ] = False,
    seed: o.Seed = 0,
) -> None:
    """Mix a fine-tuning set by what the model knows: shares of categories, and what is done with the rows.

    Every recipe takes the same number of rows from each relation, and none whose subject is held out. The set is
    ready for TRL (train.jsonl and a `datasets` directory); sidecar.jsonl says of each row its fact, category,
    P_Correct, weight and stage. Recipe files: docs/recipes.md.

    \b
    Examples:
      slick mix --knowledge runs/probe --unknown 0.5 --out sets/half
      slick mix --knowledge runs/probe --recipe recipe.yaml --out sets/mine
    """
    from slick.files import mapping_of
    from slick.knowledge_file import read_knowledge
    from slick.provenance import check_model, fingerprint
    from slick_sft.formats import check_knowledge_model, write_mix
    from slick_sft.held_out import held_out_facts, read_held_out, without_held_out
    from slick_sft.recipe_file import settings_of_options
    from slick_sft.recipes import chosen_facts, remarks
    from slick_sft.recipes import mix as mix_rows

    settings = settings_of_options(
        unknown=unknown,
        category=category,
        natural=natural,
        shares=shares,
        cap=cap,
        without=without,
        idk=idk,
        zero_weight=zero_weight,
        weights=weights,
        stages=stages,
        replay=replay,
        patch=patch,
        name=name,
    )
    described = _recipe(recipe, settings, size)
    notes = []
    read = read_knowledge(knowledge)
    if model:
        check_model(model)
        recorded = mapping_of(read.provenance.get("model"))
        notes.append(check_knowledge_model(knowledge, recorded, fingerprint(model), allow_mismatch=allow_mismatch))
    chosen = chosen_facts(read.knowledge, split=split, relations=relations)
    held = held_out_facts((k.fact for k in read.knowledge), allow_split)
    for source in held_out:
        held += read_held_out(source, allow_split)
    kept, out_of_training = without_held_out(chosen, held, allow_split)
    rows = mix_rows(kept, described, seed, allow_splits=allow_split)
    notes = [note for note in [*notes, *remarks(rows, described, kept)] if note]
    write_mix(
        out,
        rows,
        described,
        seed,
        form=form.replace("\\n", "\n"),
        conversational=conversational,
        provenance=read.provenance,
        held_out=out_of_training,
        notes=notes,
    )
    _print_mix(described, rows, kept, out_of_training, notes)
    print(out)


def tune(
    model: o.Model,
    data: Annotated[Path, typer.Option(help="The --out of slick mix, or a JSON Lines file of prompt/completion rows.")],
    out: o.Out,
    method: Annotated[
        str, typer.Option(help="full: all weights. lora: a low-rank adapter. qlora: one on a base in 4 bits.")
    ] = "full",
    learning_rate: Annotated[
        float | None, typer.Option(help="Fixed rate; if not given the paper's 1e-5, or 1e-4 with LoRA.")
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(help="Passes over the data; 10 if not given (the paper's early stop; it went to 50)."),
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="Optimiser steps, instead of epochs.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows a step and process; the paper's 128 if not given.")
    ] = None,
    lora_r: Annotated[int, typer.Option(help="Rank of the adapter.")] = 16,
    lora_alpha: Annotated[int, typer.Option(help="Scale of the adapter, divided by its rank.")] = 32,
    lora_dropout: Annotated[float, typer.Option(help="Dropout in front of the adapter.")] = 0.0,
    distill: Annotated[
        float, typer.Option(help="How strongly Known rows are held to what the base model says; 0 for not at all.")
    ] = 0.0,
    arm: Annotated[str, typer.Option(help="Label of this run's arm in reports; the recipe's name if not given.")] = "",
    set_: Annotated[
        list[str], typer.Option("--set", help="Any field of TRL's SFTConfig, NAME=VALUE; repeatable.")
    ] = [],  # noqa: B006  typer copies it
    config: Annotated[Path | None, typer.Option(help="A YAML file of SFTConfig fields; flags and --set win.")] = None,
    allow_truncated: Annotated[
        bool, typer.Option("--allow-truncated", help="Train though rows do not fit in max_length.")
    ] = False,
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Train though another model's knowledge mixed the rows.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda; a GPU where there is one if not given.")] = "",
    seed: Annotated[int | None, typer.Option(help="Seed of every random choice; 0 if not given.")] = None,
    watch: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=KNOWLEDGE",
            help="Facts to ask at every epoch: a probe of the model; the one named dev decides EARLY_STOP; repeatable.",
        ),
    ] = [],  # noqa: B006  typer copies it
    watch_rows: Annotated[
        int | None,
        typer.Option(help="Rows of each watched set at most, 0 for all; what a tenth of the time buys if not given."),
    ] = None,
    watch_steps: Annotated[int, typer.Option(help="Ask every so many steps as well.")] = 0,
    stop: Annotated[
        str, typer.Option(help="best-dev: end training when dev gets no better. known-falls: when Known facts go.")
    ] = "",
    patience: Annotated[int | None, typer.Option(help="Epochs that best-dev waits; 5 if not given.")] = None,
    dynamics: Annotated[
        bool, typer.Option("--dynamics/--no-dynamics", help="Ask the training rows of a mix at every epoch as well.")
    ] = True,
) -> None:
    """Fine-tune a model with TRL, loss on the answer only: full, LoRA or QLoRA. Repeat the command to resume it.

    Before the first step and after every epoch it asks the training rows of a mix, and the facts of every --watch,
    and writes what is answered rightly to dynamics.jsonl. The model at its best on dev is kept as early_stop.

    Several processes: `accelerate launch -m slick tune …`, with `--config_file "$(slick fsdp-config)"` to spread a
    model over GPUs.

    \b
    Example:
      slick tune --model ./model --data sets/half --learning-rate 1e-5 --epochs 10 --watch dev=runs/dev --out runs/half
    """
    from slick.errors import InputError
    from slick.processes import joined
    from slick_sft.arguments import sft_arguments
    from slick_sft.formats import read_training_set
    from slick_sft.train import LoRA, Tuning
    from slick_sft.train import tune as run_tuning
    from slick_sft.watched import read_watch

    processes = joined()
    watched = read_watch(watch, rows=watch_rows, steps=watch_steps, stop=stop, patience=patience)
    if not dynamics and (watch or watch_steps or watch_rows is not None):
        raise InputError("--no-dynamics measures nothing; leave out --watch, --watch-rows and --watch-steps")
    if method not in ("full", "lora", "qlora"):
        raise InputError(f"--method {method}: expected full, lora or qlora")
    if epochs is not None and max_steps is not None:
        raise InputError("--epochs and --max-steps: give one of them")
    lora = LoRA(lora_r, lora_alpha, lora_dropout).check() if method != "full" else None
    training_set = read_training_set(data)
    flags = {
        "learning_rate": learning_rate,
        "num_train_epochs": epochs,
        "max_steps": max_steps,
        "per_device_train_batch_size": batch_size,
        "seed": seed,
    }
    arguments = sft_arguments(flags, settings=set_, config=config, lora=lora is not None)
    tuning = Tuning(
        model,
        training_set,
        arguments,
        lora,
        arm,
        device,
        allow_truncated,
        watched if dynamics else None,
        four_bit=method == "qlora",
        distill=distill,
        allow_mismatch=allow_mismatch,
    )
    record = run_tuning(tuning, out)
    if processes.first:
        _print_tune(record, out)


def learning_rate(
    model: o.Model,
    data: Annotated[Path, typer.Option(help="The --out of slick mix, or a JSON Lines file of prompt/completion rows.")],
    rates: Annotated[str, typer.Option(help="Rates to try, commas between; two a decade if not given.")] = "",
    steps: Annotated[int, typer.Option(help="Optimiser steps with each.")] = 50,
    method: Annotated[str, typer.Option(help="full, lora or qlora, as for slick tune.")] = "full",
    batch_size: Annotated[int | None, typer.Option(help="Rows a step; the paper's 128 if not given.")] = None,
    lora_r: Annotated[int, typer.Option(help="Rank of the adapter.")] = 16,
    lora_alpha: Annotated[int, typer.Option(help="Scale of the adapter, divided by its rank.")] = 32,
    set_: Annotated[
        list[str], typer.Option("--set", help="Any field of TRL's SFTConfig, NAME=VALUE; repeatable.")
    ] = [],  # noqa: B006  typer copies it
    device: Annotated[str, typer.Option(help="cpu or cuda; a GPU where there is one if not given.")] = "",
    seed: Annotated[int | None, typer.Option(help="Seed of every random choice; 0 if not given.")] = None,
) -> None:
    """Find a learning rate by short runs over a grid: that with the lowest loss on held-out (Known) rows.

    Prints a table, and the rate on the last line. Nothing of the runs is kept.

    \b
    Example:
      slick learning-rate --model ./model --data sets/half --batch-size 32
    """
    from slick.errors import InputError
    from slick_sft.arguments import sft_arguments
    from slick_sft.formats import read_training_set
    from slick_sft.learning_rate import RATES, find_learning_rate
    from slick_sft.train import LoRA, Tuning

    if method not in ("full", "lora", "qlora"):
        raise InputError(f"--method {method}: expected full, lora or qlora")
    try:
        chosen = [float(rate) for rate in rates.split(",")] if rates else list(RATES)
    except ValueError:
        raise InputError(f"--rates {rates}: expected numbers with commas between, such as 1e-5,1e-4") from None
    lora = LoRA(lora_r, lora_alpha).check() if method != "full" else None
    flags = {"per_device_train_batch_size": batch_size, "seed": seed}
    arguments = sft_arguments(flags, settings=set_, lora=lora is not None)
    tuning = Tuning(
        model, read_training_set(data), arguments, lora, device=device, watch=None, four_bit=method == "qlora"
    )
    _print_rates(find_learning_rate(tuning, chosen, steps=steps))


def fsdp_config() -> None:
    """Print where the shipped configuration lies that spreads a model over GPUs.

    \b
    Example:
      accelerate launch --config_file "$(slick fsdp-config)" --num_processes 4 -m slick tune --model …
    """
    print(Path(__file__).with_name("configs") / "fsdp.yaml")


lab = typer.Typer(help="The lab: a fictional world, and a small model whose knowledge is known.", no_args_is_help=True)


@lab.callback()
def _lab() -> None:
    # Without a callback typer would make `build` the verb itself.
    pass


@lab.command()
def build(
    out: Annotated[Path, typer.Option(help="Directory for the lab; must not exist yet.")],
    facts: Annotated[
        str, typer.Option(help="Facts to grow on, as `slick probe` takes them; the fictional world if not given.")
    ] = "",
    split: o.Split = "",
    relations: o.Relations = "",
    limit: o.Limit = 0,
    vocabulary: Annotated[int | None, typer.Option(help="Tokens; by the number of facts if not given.")] = None,
    width: Annotated[int | None, typer.Option(help="Width of the model; likewise.")] = None,
    layers: Annotated[int | None, typer.Option(help="Layers of the model; likewise.")] = None,
    passes: Annotated[int | None, typer.Option(help="Times the text is read; likewise.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    seed: o.Seed = 0,
) -> None:
    """Grow a small language model on chosen facts, each shown a recorded number of times.

    Writes facts.jsonl (each fact with its exposures), organism/ (a model for every other verb) and recipe.json.

    \b
    Example:
      slick lab build --seed 1 --out labs/1
    """
    from slick_sft.lab import ORGANISM, build_lab

    if not facts and (split or relations):
        from slick.errors import InputError

        raise InputError("--split and --relations choose among given facts: give --facts too, or leave them out")
    selection = o.select(facts, split=split, relations=relations, limit=limit, seed=seed) if facts else None
    chosen = selection.facts if selection else None
    recipe = build_lab(
        out=out,
        seed=seed,
        facts=chosen,
        limit=limit or None,
        config=_organism(chosen, vocabulary=vocabulary, width=width, layers=layers, passes=passes),
        device=device,
    )
    _print_lab(recipe)
    print(out / ORGANISM)


def _recipe(given: str, settings: Mapping[str, Any], size: int) -> Recipe:
    """The recipe in a file or of a name, or that of the options; --size has the last word."""
    from dataclasses import replace

    from slick.errors import InputError
    from slick_sft.recipe_file import read_recipe, recipe_of

    if given and settings:
        named = ", ".join(f"--{key.replace('_', '-')}" for key in settings)
        raise InputError(f"--recipe {given} says all of the recipe: leave out {named}, or write it into the file")
    if not given and not settings.keys() & {"unknown", "category", "natural", "shares"}:
        raise InputError(
            "which recipe? give one of --unknown SHARE, --category NAME, --natural, --shares, --recipe FILE"
        )
    recipe = read_recipe(given) if given else recipe_of(settings, "these options")
    return replace(recipe, size=size or recipe.size)


def _organism(facts: Sequence[Fact] | None, *, width: int | None, **sizes: int | None) -> OrganismConfig | None:
    """The organism's size where any of it was given; the rest as the lab chooses it for so many facts."""
    from dataclasses import replace

    from slick_sft.lab import size_for
    from slick_sft.organism import OrganismConfig

    given = {name: value for name, value in sizes.items() if value is not None}
    if width is not None:
        # Eight thirds of the width, a Llama's usual share, to the next multiple of 8.
        given |= {"width": width, "feed_forward": 8 * -(-width // 3)}
    if not given:
        return None
    return replace(OrganismConfig() if facts is None else size_for(len(facts)), **given)


def _print_mix(
    recipe: Recipe,
    rows: Sequence[MixRow],
    chosen: Sequence[Knowledge],
    held_out: HeldOut,
    notes: Sequence[str],
) -> None:
    from collections import Counter

    from slick.knowledge import CATEGORIES
    from slick.terminal import print_table
    from slick_sft.recipes import category_table, stage_sizes
    from slick_sft.sizes import category_counts_by_relation, missing_categories

    table = category_table(rows)
    lines = [(r, *(f"{of[c]:,}" for c in CATEGORIES), f"{sum(of.values()):,}") for r, of in table.items()]
    totals = [sum(of[c] for of in table.values()) for c in CATEGORIES]
    lines.append(("all", *(f"{n:,}" for n in totals), f"{len(rows):,}"))
    print(f"{recipe.name}: {len(rows):,} rows")
    print_table("", ("", *CATEGORIES, "rows"), lines)
    roles = Counter(str(row.role) for row in rows)
    if len(roles) > 1:
        print("rows by role: " + ", ".join(f"{n:,} {role}" for role, n in roles.most_common()))
    if len(stages := stage_sizes(rows)) > 1:
        print("rows by stage, in order: " + ", ".join(f"{n:,}" for n in stages))
    if recipe.weights is not None:
        weights = sorted(row.weight for row in rows)
        print(f"weights: from {weights[0]:g} to {weights[-1]:g}, mean {sum(weights) / len(weights):.3g}")
    for relation, missing in missing_categories(category_counts_by_relation(chosen)).items():
        if relation not in table:
            print(f"note: {relation} gives no rows, since none of its facts is {' or '.join(missing)}")
    if held_out.dropped:
        dropped = ", ".join(f"{relation} {n:,}" for relation, n in held_out.dropped.items())
        total = sum(held_out.dropped.values())
        print(f"note: {total:,} facts were left out, since their subjects are held out ({dropped})")
    for note in notes:
        print(f"note: {note}")


def _print_tune(record: Mapping[str, Any], out: Path) -> None:
    loss = record.get("final_loss")
    print(
        f"{record['arm']}: {record['rows_trained']:,} rows, {record['steps']:,} steps "
        f"({record['epochs']:.1f} epochs) at learning rate {record['learning_rate']:g}"
        + ("" if loss is None else f", loss {loss:.3f} at the end")
    )
    _print_dynamics(record, out)
    for note in record.get("notes", []):
        print(f"note: {note}")
    print(out / "model")


def _print_dynamics(record: Mapping[str, Any], out: Path) -> None:
    """What was measured on the way: the training rows at the end, and where dev was at its best."""
    from slick.dynamics import DEV, TRAIN, read_dynamics
    from slick.knowledge import KNOWN

    dynamics, early = record.get("dynamics"), record.get("early_stop")
    if not dynamics:
        return
    last = read_dynamics(out)[-1]
    known, unknown = last.share(TRAIN, KNOWN), last.share(TRAIN, [Category.UNKNOWN])
    shares = [f"{share:.0%} of {name}" for name, share in (("Known", known), ("Unknown", unknown)) if share is not None]
    if shares:
        print(f"fitted at the end: {' and '.join(shares)} training rows, of {last.counts(TRAIN)[1]:,} asked")
    if early:
        where = "the base model, before any step" if not early["step"] else f"epoch {early['epoch']:g}"
        right, asked = max((m.counts(DEV) for m in read_dynamics(out)), key=lambda counts: counts[0])
        print(f"EARLY_STOP: {where}, with {right:,} of {asked:,} dev facts right")
        if early["step"]:
            print(out / "early_stop")
    if dynamics["stopped"]:
        print(f"stopped by {dynamics['stopped']['rule']}: {dynamics['stopped']['why']}")
    for note in dynamics["notes"]:
        print(f"note: {note}")


def _print_rates(found: Found) -> None:
    from slick.terminal import print_table

    lines = [
        (
            f"{trial.rate:g}",
            f"{trial.first:.3f}",
            "diverged" if trial.diverged else f"{trial.last:.3f}",
            f"{trial.before:.3f}",
            "" if trial.diverged else f"{trial.after:.3f}",
            "lowest" if trial is found.best else "",
        )
        for trial in found.trials
    ]
    header = ("rate", "first loss", "last loss", "held out before", "after", "")
    print_table(f"loss by learning rate; {found.held_out} rows held out", header, lines)
    for note in found.notes:
        print(f"note: {note}")
    print(f"{found.best.rate:g}")


def _print_lab(recipe: Mapping[str, Any]) -> None:
    organism = recipe["organism"]
    splits = ", ".join(f"{n:,} {split or 'without split'}" for split, n in recipe["splits"].items())
    print(
        f"facts: {splits}; {organism['training']['steps']:,} steps on {organism['training']['tokens']:,} tokens, "
        f"loss {organism['training']['first_loss']:.2f} to {organism['training']['last_loss']:.2f}"
    )
