"""The verbs `slick gate` and `slick bless`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slick import options as o

if TYPE_CHECKING:
    from slick_sft.gate.baselines import Baseline
    from slick_sft.gate.jobs import OpenPool
    from slick_sft.gate.plan import Lint
    from slick_sft.gate.policy import Policy
    from slick_sft.gate.report import GateReport
    from slick_sft.gate.wish import Prepared
    from slick_sft.lint.report import Report
    from slick_sft.lint.run import Ready
    from slick_sft.study.schedule import Pool


class Inconclusive(StrEnum):
    REPORT = "report"
    FAIL = "fail"
    PASS = "pass"  # noqa: S105  a verdict, no password


Baselines = Annotated[Path, typer.Option("--baselines", help="The file of baselines, which a team commits.")]
_BASELINES = Path(".slick/baselines.json")
_POLICY = Path("slick-gate.yaml")


def gate(
    given: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DATASET|RUN]…",
            help="The dataset, in any form that slick lint reads; with --runs the candidate's score runs.",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[Path, typer.Option(help="The policy; write one with --init.")] = _POLICY,
    init: Annotated[bool, typer.Option("--init", help="Write a commented policy to --policy, and its schema.")] = False,
    model: Annotated[str, typer.Option("--model", help="The base model: a directory or a hub name.")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Directory of the gate; repeat the command to resume it.")
    ] = None,
    runs: Annotated[bool, typer.Option("--runs", help="Judge score runs that exist; nothing is trained.")] = False,
    control: Annotated[
        list[Path] | None,
        typer.Option("--control", metavar="RUN", help="A score run of the control; repeat it for each."),
    ] = None,
    baseline: Annotated[str, typer.Option(help="The control is this baseline (see slick bless).")] = "",
    baselines: Baselines = _BASELINES,
    knowledge: Annotated[
        Path | None, typer.Option(help="With runs that exist: the probe of the base model, for the facts' categories.")
    ] = None,
    rescore: Annotated[
        Path | None,
        typer.Option(metavar="GATE", help="Issue an earlier verdict again, from its stored answers, by --policy."),
    ] = None,
    self_check: Annotated[
        bool, typer.Option("--self-check", help="Set control seeds against other control seeds: what can be shown?")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Lint and probe, say what would be trained, and stop.")] = False,
    inconclusive: Annotated[
        Inconclusive | None, typer.Option(help="What an open verdict exits with: report 3, fail 1, pass 0.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="File for the verdict as JSON.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="File for the verdict as Markdown, such as for a comment on a pull request.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="File for the verdict as JUnit XML.")] = None,
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Judge runs that were made differently; the verdict warns of it.")
    ] = False,
    relation_column: Annotated[str, typer.Option(help="Column of a row's relation, as for slick lint.")] = "",
    jobs: Annotated[int, typer.Option(help="Worker processes; what the machine can bear if not given.", min=0)] = 0,
    keep_models: Annotated[bool, typer.Option("--keep-models", help="Keep the tuned weights once scored.")] = False,
    batch_size: Annotated[int, typer.Option(help="Sequences a batch, of probes and scores.", min=1)] = 128,
    device: o.Device = "",
    store: o.StoreFile = "",
    no_store: o.NoStore = False,
) -> int:
    """Say whether a fine-tuning dataset makes a model worse at what it knew: PASS, FAIL or INCONCLUSIVE.

    Trains the dataset and a control over several seeds, asks both the same held-out facts, and compares them by the
    policy's margins. Exit code: 0 PASS, 1 FAIL, 3 INCONCLUSIVE, 2 wrong input, 4 a run that failed: never a verdict.

    \b
    Examples:
      slick gate --init
      slick gate train.jsonl --model ./model --out gates/new
      slick gate --runs runs/new-0 runs/new-1 --control runs/old-0 --control runs/old-1 --junit gate.xml
      slick gate --rescore gates/new --policy stricter.yaml
      slick gate --self-check train.jsonl --model ./model --out gates/check
    """
    from slick.errors import InputError

    paths = list(given or [])
    if init:
        _init(policy)
        return 0
    from slick_sft.gate.existing import check_runs, judge_runs
    from slick_sft.gate.telling import tell, tell_self_check

    _check_modes(
        paths,
        runs=runs,
        rescore=rescore,
        self_check=self_check,
        control=control,
        plan=plan,
        baseline=baseline,
        knowledge=knowledge,
        files=bool(markdown or junit),
    )
    outputs = {"--json": json, "--markdown": markdown, "--junit": junit, "--out": out}
    _check_outputs(outputs, [*paths, *(control or [])], policy, [baselines, *([knowledge] if knowledge else [])])
    if not plan:
        _set_aside(None if self_check else out, [path for path in (json, markdown, junit) if path], rescore)
    chosen = _policy(policy, baseline, inconclusive, needed=rescore is None)
    report: GateReport | None
    if rescore is not None:
        from slick_sft.gate.rescore import rescore as issue_again

        report = issue_again(rescore, chosen, inconclusive=str(inconclusive or ""), allow_mismatch=allow_mismatch)
    else:
        assert chosen is not None
        blessed = _blessed(chosen, baselines)
        if self_check and (runs or not paths):
            tell_self_check(check_runs([*paths, *(control or [])], chosen, knowledge), chosen, json)
            return 0
        if runs:
            report = judge_runs(
                paths, list(control or []), chosen, blessed, baselines, knowledge, out, allow_mismatch=allow_mismatch
            )
        else:
            if not paths or not model or out is None:
                raise InputError("give a DATASET, its --model, and --out DIR; or --runs, --rescore, --init")
            from slick_sft.gate.prepare import prepare
            from slick_sft.gate.run import run_gate, run_self_check
            from slick_sft.gate.wish import Wish
            from slick_sft.lint.places import check_outputs

            check_outputs(outputs, {"the source of held-out facts": [chosen.held_out.facts]}, what="the verdict")
            wish = Wish(
                paths,
                model,
                chosen,
                out,
                blessed,
                baselines,
                relation_column,
                device,
                batch_size,
                store,
                no_store,
                keep_models,
                allow_mismatch,
            )
            ready = prepare(wish)
            lint, pool = _lint_by(wish.model, batch_size, device, store, no_store), _pools(ready, jobs)
            if self_check:
                if (lines := run_self_check(ready, lint, pool, _say, plan_only=plan)) is not None:
                    tell_self_check(lines, chosen, json or out / "self-check.json")
                return 0
            report = run_gate(ready, lint, pool, _say, plan_only=plan)
    if report is None:
        return 0
    tell(report, out, json, markdown, junit)
    return report.exit_code


def bless(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN…", help="The --out of slick gate, or the score runs of one recipe.")
    ],
    name: Annotated[str, typer.Argument(help="The baseline's name.")],
    baselines: Baselines = _BASELINES,
    move: Annotated[bool, typer.Option("--move", help="Let a baseline of that name move to these runs.")] = False,
) -> None:
    """Call runs a baseline, which later candidates are compared with: slick gate --baseline NAME.

    \b
    Example:
      slick bless gates/2026-05 release
    """
    from slick.rows import shown
    from slick_sft.gate import baselines as b

    found = b.bless(runs, name, baselines, move=move)
    print(f"{shown(found.name)}: {len(found.runs)} run{'s' * (len(found.runs) != 1)}, {found.date}")
    if found.verdict not in (None, "PASS"):
        print(f"note: the gate's verdict on them was {shown(found.verdict)}")
    print(baselines)


def _init(policy: Path) -> None:
    from slick_sft.gate.policy import write_template

    for path in write_template(policy):
        print(path)


def _check_modes(
    paths: Sequence[Path],
    *,
    runs: bool,
    rescore: Path | None,
    self_check: bool,
    control: Sequence[Path] | None,
    plan: bool,
    baseline: str,
    knowledge: Path | None,
    files: bool,
) -> None:
    """InputError for options that contradict each other."""
    from slick.errors import Mistakes

    with Mistakes("these do not go together:") as mistakes:
        if rescore and (runs or paths or control or self_check):
            mistakes.add("--rescore: names its runs itself; leave out --runs, --control, --self-check and the rest")
        if rescore and baseline:
            mistakes.add("--rescore: keeps the control that was judged; leave out --baseline, or judge by --runs")
        if control and not runs and not self_check:
            mistakes.add("--control: is for runs that exist; give --runs too")
        if self_check and paths and control:
            mistakes.add(
                "--self-check: takes the runs of one control, each as --control or all behind --runs, or a DATASET to "
                "train them on; leave out the others"
            )
        if plan and (runs or rescore or (self_check and control)):
            mistakes.add("--plan: is for a gate that trains; leave out --runs, --rescore and --control")
        if self_check and files:
            mistakes.add(
                "--markdown, --junit: hold a verdict, which --self-check is not; leave them out, or give --json"
            )
        if knowledge and not runs and not (self_check and not paths):
            mistakes.add("--knowledge: is for runs that exist, with --runs; a gate that trains probes its model itself")


def _check_outputs(outputs: dict[str, Path | None], given: list[Path], policy: Path, beside: list[Path]) -> None:
    """InputError where a verdict would take the place of what it is about, or of another."""
    from slick_sft.gate.looks import LOOKS
    from slick_sft.lint.places import check_outputs

    files = [*beside, *(path.parent / LOOKS for path in beside[:1])]
    check_outputs(
        outputs,
        {"the dataset, or a run,": given, "the policy": [policy], "a file that the gate keeps": files},
        what="the verdict",
    )


def _set_aside(out: Path | None, files: Sequence[Path], rescore: Path | None) -> None:
    """No earlier verdict stays where this one would stand, but for the one that is issued again."""
    from slick_sft.gate.baselines import GATE
    from slick_sft.gate.outputs import set_aside

    given = (rescore / GATE if rescore.is_dir() else rescore).resolve() if rescore else None
    again = out is not None and (out / GATE).resolve() == given
    set_aside(None if again else out, *(path for path in files if path.resolve() != given))


def _policy(path: Path, baseline: str, inconclusive: Inconclusive | None, *, needed: bool) -> Policy | None:
    """The policy, with what the command line says otherwise. Not needed: None where no such file is."""
    from dataclasses import replace

    from slick_sft.gate.policy import BASELINE, Control, read_policy

    if not needed and path == _POLICY and not path.exists():
        return None
    found = read_policy(path)
    if baseline:
        found = replace(found, control=Control(BASELINE, baseline))
    return replace(found, inconclusive=str(inconclusive)) if inconclusive else found


def _blessed(policy: Policy, file: Path) -> Baseline | None:
    from slick_sft.gate.baselines import read_baseline
    from slick_sft.gate.policy import BASELINE

    return read_baseline(policy.control.name, file) if policy.control.kind == BASELINE else None


def _say(text: str) -> None:
    from slick_reports.text import visible

    print(visible(text), flush=True)


def _lint_by(model: str, batch_size: int, device: str, store: str, no_store: bool) -> Lint:
    """Lint with the model loaded in this process, and gone again when it is done."""

    def lint(ready: Ready, out: Path) -> Report:
        from slick_sft.lint.run import lint as run_lint

        with o.remembering_backend(
            "slick-hf", model, (), str(batch_size), device, store=store, no_store=no_store, out=out
        ) as loaded:
            return run_lint(ready, loaded, out)

    return lint


def _pools(ready: Prepared, jobs: int) -> OpenPool:
    """Workers as a study has them, as many as the machine bears."""
    from slick_sft.study.machine import choose
    from slick_sft.study.pool import ProcessPool

    wish = ready.wish
    chosen = choose(jobs, device=wish.device, arms=2 * wish.policy.seeds, model=wish.model)

    @contextmanager
    def open_pool(out: Path) -> Iterator[Pool]:
        with ProcessPool(
            out, chosen.workers, threads=chosen.threads, gpus=chosen.gpus, command=("-m", "slick_sft.gate.work")
        ) as pool:
            yield pool

    opened: OpenPool = open_pool
    return opened
