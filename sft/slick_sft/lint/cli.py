"""The verb `slick lint`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slick import options as o
from slick.matching import Matching

if TYPE_CHECKING:
    from slick.backend import Backend
    from slick.batch_size import Longest
    from slick.prompts import Chat
    from slick_sft.lint.from_study import FromStudy
    from slick_sft.lint.report import Report
    from slick_sft.lint.run import Ready


class FailOn(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"
    NEVER = "never"


class Fix(StrEnum):
    DROP = "drop"
    RELABEL = "relabel"
    WEIGHT = "weight"


class RuleName(StrEnum):
    UNKNOWN = "unknown-fact"
    CONFLICT = "conflicting-answers"
    LEAK = "held-out-question"
    LEAKED_SUBJECT = "held-out-subject"
    DUPLICATE = "duplicate-row"


def lint(
    datasets: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATASET",
            help="JSON Lines, JSON, CSV, Parquet, or a `datasets` directory; in the form of TRL (messages, prompt and "
            "completion, text), Alpaca, ShareGPT, or question and answer.",
            show_default=False,
        ),
    ],
    model: o.Model,
    held_out: Annotated[
        list[str],
        typer.Option(metavar="FACTS", help="Facts, or a probe, that must not be trained on; repeatable."),
    ] = [],  # noqa: B006  typer copies it
    relation_column: Annotated[
        str,
        typer.Option(help="Column of a row's relation; else relation, predicate, property, or the question tells."),
    ] = "",
    exemplars: Annotated[str, typer.Option(help="Facts to draw exemplars from, besides the dataset's own.")] = "",
    study: Annotated[
        list[Path],
        typer.Option(help="A finished slick study, to predict from where it is of this kind; repeatable."),
    ] = [],  # noqa: B006  typer copies it
    policy: Annotated[
        Path | None,
        typer.Option(
            help="The gate's policy, whose training a study must have had; slick-gate.yaml, where it stands, if not "
            "given.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(help="Probe a seeded draw of so many facts; 0 for all.", min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Directory that keeps the probe's run; repeat the command to resume it.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="File for everything that was found, as JSON.")] = None,
    sarif: Annotated[Path | None, typer.Option(help="File for the findings as SARIF 2.1.0.")] = None,
    annotations: Annotated[
        bool | None,
        typer.Option(
            "--annotations/--no-annotations",
            help="Print GitHub annotations; done in a GitHub workflow if not given.",
            show_default=False,
        ),
    ] = None,
    rows: Annotated[int, typer.Option(help="Findings to print, the worst first.", min=0)] = 20,
    fail_on: Annotated[
        FailOn, typer.Option(help="Exit with 1 where anything of this level or worse was found.")
    ] = FailOn.ERROR,
    fix: Annotated[
        Fix | None,
        typer.Option(help='Write the dataset again, its bad rows dropped, answering "I don\'t know", or re-weighted.'),
    ] = None,
    fix_rule: Annotated[
        list[RuleName], typer.Option(help="Rows that break this rule are changed by --fix; repeatable.")
    ] = [RuleName.UNKNOWN],  # noqa: B006  typer copies it
    fix_weight: Annotated[float, typer.Option(help="The weight that --fix weight gives.")] = 0.0,
    fix_out: Annotated[
        Path | None, typer.Option(help="Where --fix writes; NAME.fixed.SUFFIX beside the dataset if not given.")
    ] = None,
    n_exemplar_sets: Annotated[int, typer.Option(help="Exemplar sets a relation (N_ex).")] = 10,
    n_exemplars: Annotated[int, typer.Option(help="Exemplars a set (k).")] = 4,
    n_samples: Annotated[int, typer.Option(help="Samples an exemplar set (N_sample) whose outcome is computed.")] = 16,
    max_gen_toks: o.MaxGenToks = 32,
    matching: o.MatchingOption = Matching.STRICT,
    apply_chat_template: o.ApplyChat = False,
    fewshot_as_multiturn: o.Multiturn = False,
    system_instruction: o.System = "",
    model_args: o.ModelArgs = [],  # noqa: B006  typer copies it
    batch_size: o.BatchSize = "128",
    device: o.Device = "",
    store: o.StoreFile = "",
    no_store: o.NoStore = False,
    seed: o.Seed = 0,
) -> None:
    """Say which rows of a fine-tuning dataset a model does not know yet, before it is trained on them.

    Finds the rows that state short facts, probes them with the base model by the exact estimator, with exemplars from
    the dataset itself, and names conflicting answers, duplicates and leaks of held-out questions. Rows that cannot be
    probed are counted, and never taken for known.

    \b
    Examples:
      slick lint train.jsonl --model ./model --held-out entityq --sarif lint.sarif
      slick lint alpaca.json --model ./model --fix drop
    """
    from slick.errors import EXIT_QUALITY, InputError
    from slick.files import write_json
    from slick.reader import read_facts
    from slick.sampled import Sampled
    from slick_reports.text import visible
    from slick_sft.held_out import read_held_out
    from slick_sft.lint import fix as fixing
    from slick_sft.lint.findings import Level
    from slick_sft.lint.places import check_outputs
    from slick_sft.lint.reading import SUFFIXES
    from slick_sft.lint.run import Wish, prepare
    from slick_sft.lint.run import lint as run_lint
    from slick_sft.lint.sarif import as_sarif

    if fix and limit:
        raise InputError("--fix with --limit would leave rows that were not probed; leave --limit out")
    if fix_out and not fix:
        raise InputError("--fix-out: nothing is written without --fix")
    if fix and not fix_out and out and out.suffix in SUFFIXES:
        raise InputError(f"--out {out}: names the probe's run, a directory; the fixed dataset goes to --fix-out {out}")
    fixing.check_weight(fix_weight)
    outputs = {"--json": json, "--sarif": sarif, "--out": out}
    read = {"a source of held-out facts": held_out, "the source of exemplars": [exemplars]}
    check_outputs(outputs, {"the dataset": datasets, **read}, what="the findings")
    protocol = Sampled(n_exemplar_sets, n_exemplars, n_samples, max_gen_toks=max_gen_toks, n_before=0).check()
    wish = Wish(
        datasets,
        relation_column,
        limit or None,
        seed,
        protocol,
        matching,
        read_facts(exemplars) if exemplars else None,
        [fact for source in held_out for fact in read_held_out(source)],
    )
    studies, training = _studies(study, policy)
    ready = prepare(wish)
    targets = fixing.targets(ready.sources, fix_out) if fix else {}
    check_outputs({**outputs, **fixing.written(targets)}, {}, what="the findings")
    with (
        _directory(out) as run_directory,
        o.remembering_backend(
            "slick-hf", model, model_args, batch_size, device, store=store, no_store=no_store, out=run_directory
        ) as loaded,
    ):
        chat = loaded.chat(apply=apply_chat_template, multiturn=fewshot_as_multiturn, system=system_instruction)
        _say_notes(loaded, ready, apply_chat_template)
        loaded = o.sized(loaded, batch_size, run_directory, lambda: _longest(ready, loaded, chat))
        report = run_lint(ready, loaded, run_directory, chat, studies, training)
    if json:
        write_json(json, report.as_dict())
    if sarif:
        write_json(sarif, as_sarif(report))
    _print(report, rows, annotations)
    if fix:
        how, broken = fixing.Fix(fix), [str(rule) for rule in fix_rule]
        for done in fixing.write_fixed(report, how, targets, rules=broken, weight=fix_weight):
            others = f", and with them {done.others} other answers of their conversations" if done.others else ""
            print(visible(f"{done.out}: {done.changed} rows changed{others}; {done.sidecar} says which"))
    if report.failing(None if fail_on is FailOn.NEVER else Level(fail_on)):
        raise typer.Exit(EXIT_QUALITY)


def _studies(paths: list[Path], policy: Path | None) -> tuple[list[FromStudy], dict[str, Any] | None]:
    """What to predict from, and how the policy trains; None where there is no policy."""
    from slick_sft.gate.policy import POLICY, read_policy
    from slick_sft.lint.from_study import FromStudy, training_of

    if not paths:
        return [], None
    found = [FromStudy(path) for path in paths]
    file = policy or Path(POLICY)
    return found, training_of(read_policy(file).tuning.as_dict()) if policy or file.exists() else None


@contextmanager
def _directory(out: Path | None) -> Iterator[Path]:
    """The directory of the probe's run; one that is gone afterwards where none is given."""
    from tempfile import TemporaryDirectory

    if out is not None:
        yield out
        return
    with TemporaryDirectory(prefix="slick-lint-") as directory:
        yield Path(directory) / "probe"


def _longest(ready: Ready, loaded: Backend, chat: Chat) -> Longest:
    from slick.batch_size import longest_of_probe
    from slick_sft.lint.run import probe_of

    return longest_of_probe(probe_of(ready, loaded, chat)[0])


def _say_notes(loaded: Backend, ready: Ready, chat: bool) -> None:
    from slick_reports.text import visible

    notes = [*(note for source in ready.sources for note in source.notes), *loaded.notes(exact=True)]
    template = getattr(getattr(loaded.lm, "tokenizer", None), "chat_template", None)
    if ready.conversational and template and not chat:
        notes.append(
            "the dataset holds conversations and the model has a chat template, but facts are asked as plain text, "
            "as of a base model; --apply-chat-template asks them in its form"
        )
    for note in notes:
        typer.echo(f"slick: note: {visible(note)}", err=True)


def _print(report: Report, rows: int, annotated: bool | None) -> None:
    """The table, and annotations where they are wanted. In a workflow nothing in the table is taken for a command."""
    import os
    import secrets

    from slick_sft.lint.annotations import annotate
    from slick_sft.lint.table import print_report

    workflow = os.environ.get("GITHUB_ACTIONS") == "true"
    word = secrets.token_hex(16)
    if workflow:
        print(f"::stop-commands::{word}", flush=True)
    print_report(report, rows)
    if workflow:
        print(f"::{word}::", flush=True)
    if annotated or (annotated is None and workflow):
        for line in annotate(report):
            print(line)
