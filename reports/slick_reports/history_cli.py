"""The verb `slick history`: a ledger of what versions of a model knew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

history = typer.Typer(
    help="What each version of a model knew: a ledger of runs, and the changes between them.", no_args_is_help=True
)

LedgerFile = Annotated[Path, typer.Option("--ledger", help="The ledger: one SQLite file, to commit or to cache in CI.")]
Series = Annotated[str, typer.Option("--series", help="Which way of asking, where the ledger holds several.")]
_DEFAULT = Path("slick-history.sqlite")


@history.command()
def add(
    runs: Annotated[list[Path], typer.Argument(help="Score or probe runs, of slick or of lm_eval.")],
    ledger: LedgerFile = _DEFAULT,
    version: Annotated[
        str, typer.Option("--version", help="What they are called; by default each one's arm or directory.")
    ] = "",
    date: Annotated[str, typer.Option("--date", help="ISO 8601; by default when each run was made.")] = "",
    baseline: Annotated[
        bool, typer.Option("--baseline", help="What later versions are set against from now on.")
    ] = False,
) -> None:
    """Add runs to the ledger, all of them or none. A run that is there already is left as it is.

    Runs of one version are its seeds. Several processes may add at once.

    \b
    Example:
      slick history add runs/v1-score runs/v1-probe --version v1 --baseline
    """
    from slick_reports.ledger import Ledger
    from slick_reports.ledger_entries import entry_of
    from slick_reports.text import visible

    entries = [entry_of(path, version=version, date=date) for path in runs]
    with Ledger(ledger) as opened:
        new = opened.add(entries, baseline=baseline)
    for path, entry, is_new in zip(runs, entries, new, strict=True):
        what = f"{len(entry.results):,} facts as {entry.version} in {entry.series}" if is_new else "is there already"
        typer.echo(f"{visible(str(path))}: {what}")


@history.command("list")
def list_(ledger: LedgerFile = _DEFAULT) -> None:
    """List the ledger's runs: date, kind and series, seed, facts, version, model.

    \b
    Example:
      slick history list
    """
    from slick_reports.inputs import mapping
    from slick_reports.ledger import Ledger
    from slick_reports.text import short, visible

    with Ledger(ledger, create=False) as opened:
        runs = opened.runs()
        counts = [len(opened.columns(run.id).facts) for run in runs]
    rows = [
        (
            run.at or "no date",
            short(run.series),
            "" if run.record.get("seed") is None else short(f"seed {run.record['seed']}"),
            f"{n:,} facts",
            short(run.version) + (" (baseline)" if run.baseline else ""),
            short(str(mapping(run.record.get("model")).get("name") or "")),
        )
        for run, n in zip(runs, counts, strict=True)
    ]
    # Plain lines, the names last: a table would cut off what --series takes.
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    typer.echo(f"{visible(str(ledger))}: {len(runs)} runs")


@history.command()
def show(
    ledger: LedgerFile = _DEFAULT,
    series: Series = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="A page, FILE.html; .md and .json are written beside it.")
    ] = None,
    title: Annotated[str, typer.Option("--title", help="The page's title.")] = "",
    stale_days: Annotated[
        float, typer.Option("--stale-days", help="A version that is so much older than the newest is marked.", min=0)
    ] = 90.0,
) -> None:
    """Show accuracy by version, the changes that stand after correction, and the facts that flipped.

    \b
    Example:
      slick history show --out history.html
    """
    from slick.terminal import print_table
    from slick_reports.history import TITLE, build_history
    from slick_reports.history_output import prior_told, write_history
    from slick_reports.ledger import Ledger
    from slick_reports.text import short, visible
    from slick_reports.wording import chance, estimate_percent, estimate_points

    command = _command(ledger, series, out, title, stale_days)
    with Ledger(ledger, create=False) as opened:
        found = build_history(opened, series=series, title=title or TITLE, stale_days=stale_days, command=command)
    previous = [step for step in found.steps if step.against == "previous"]
    steps = {step.later: step for step in previous if step.group == "all"}
    changed: dict[str, list[str]] = {}
    for step in previous:
        if step.changed:
            changed.setdefault(step.later, []).append(step.group)
    rows = []
    for version in found.versions:
        to_all = steps.get(version.name)
        of = changed.get(version.name)
        marks = [
            *(["baseline"] if version.baseline else []),
            *(["stale"] if version.stale else []),
            *(["CHANGED", ", ".join(of)] if of else []),
        ]
        # Lines of their own, since a narrow terminal would cut words off.
        rows.append(
            [
                f"{short(version.name)}\n{version.at[:10] or '–'}",
                f"{version.n:,}",
                estimate_percent(version.groups[0].side.accuracy).replace(" ", "\n", 1),
                prior_told(version)[0].replace(" ", "\n"),
                estimate_points(to_all.estimate).replace(" ", "\n", 1) if to_all else "–",
                chance(to_all.adjusted) if to_all else "–",
                "\n".join(marks),
            ]
        )
    header = ["version", "facts", "accuracy, %", "prior", "step", "p\n(Holm)", "marks"]
    print_table(f"{found.n:,} facts, {found.series}", header, rows)
    typer.echo(found.headline)
    if found.noise:
        typer.echo(found.noise)
    for warning in found.warnings:
        typer.echo(f"Warning: {warning}")
    for path in write_history(found, out) if out else ():
        typer.echo(visible(str(path)))


@history.command()
def export(
    out: Annotated[
        Path,
        typer.Option("--out", help="FILE.parquet: every result. FILE.json: the newest version for a trend action."),
    ],
    ledger: LedgerFile = _DEFAULT,
    series: Series = "",
    smaller: Annotated[
        bool, typer.Option("--smaller", help="JSON for customSmallerIsBetter; otherwise customBiggerIsBetter.")
    ] = False,
) -> None:
    """Export the ledger to Parquet, or its newest version to the JSON that benchmark-trend actions read.

    \b
    Example:
      slick history export --out trend.json
    """
    from slick.errors import InputError
    from slick_reports.history import build_history
    from slick_reports.history_export import trend, write_parquet
    from slick_reports.history_output import write_text
    from slick_reports.ledger import Ledger
    from slick_reports.text import visible

    if out.suffix not in (".parquet", ".json"):
        raise InputError(f"--out {out}: expected a name that ends in .parquet or .json")
    if out.suffix == ".parquet" and (series or smaller):
        raise InputError("--series and --smaller: are for a .json; a .parquet holds the whole ledger")
    with Ledger(ledger, create=False) as opened:
        if out.suffix == ".parquet":
            typer.echo(f"{visible(str(out))}: {write_parquet(opened, out):,} rows")
        else:
            write_text(out, trend(build_history(opened, series=series), smaller=smaller))
            typer.echo(visible(str(out)))


def _command(ledger: Path, series: str, out: Path | None, title: str, stale_days: float) -> str:
    """The command that makes this page again."""
    import shlex

    words = ["slick", "history", "show", "--ledger", str(ledger)]
    words += ["--series", series] if series else []
    words += ["--title", title] if title else []
    words += ["--stale-days", f"{stale_days:g}"] if stale_days != 90 else []
    return shlex.join([*words, *(["--out", str(out)] if out else [])])
