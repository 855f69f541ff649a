"""The report as Markdown, for a terminal, a pull request or a wiki. Text from outside is escaped to stay text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from slick.statistics import Estimate
from slick_reports import arm_charts, curve_charts, wording
from slick_reports.html import brief, tally, versions_by_runs
from slick_reports.numbers import ArmNumbers, Flip, GroupNumbers, Report, Side, direction
from slick_reports.text import short, visible
from slick_reports.wrong import TOLD, Kind

MARK = "<!-- slick report -->"

# Facts of each list; a comment on a pull request has room for few.
LIST_LIMIT = 30

_SPECIAL = re.compile(r"[\\`*_\[\]|~$#]")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
# What the common renderers turn into links by themselves.
_AUTOLINK = re.compile(r"(?<=\w):(?=//)|(?<=www)\.", re.IGNORECASE)


def escape(text: str, limit: int | None = None) -> str:
    """`text` as inert Markdown on one line, also within a table: no HTML, markup, link or mention is left in it."""
    shown = short(text) if limit is None else visible(text, limit)
    shown = _SPECIAL.sub(r"\\\g<0>", shown)
    shown = _AUTOLINK.sub(r"\\\g<0>", shown)
    shown = re.sub("[<>&]", lambda match: _ENTITIES[match.group()], shown)
    # No escape stops a mention; a word joiner, which shows as nothing, does.
    return re.sub(r"@(?=\w)", "@\u2060", shown)


def render(report: Report, *, stem: str = "report") -> str:
    """`report` as Markdown. stem: the name, without suffix, of the JSON file beside it."""
    parts = [
        MARK,
        f"# {escape(report.title)}",
        *([f"**{sentence(report.verdict.sentence)}**"] if report.verdict else []),
        sentence(report.headline) if report.verdict else f"**{sentence(report.headline)}**",
        sentence(report.noise),
        *_banner(report),
        bullets(report.findings),
        f"Accuracy in percent, differences in points, {wording.level(report.level)} intervals in brackets; "
        f"▼ and ▲ mark a difference whose interval excludes 0. {report.n:,} facts.",
    ]
    parts += _verdict(report)
    for arm in report.arms:
        parts += _arm(arm, report, stem)
    learning = [*_learning(report), *_curves(report)]
    parts += ["## Learning and forgetting", *learning] if learning else []
    parts += ["## Relations", _relations(report), "## What is noise", *_noise(report), *_shares(report)]
    parts += ["## How to read this", bullets([*report.caveats, *report.notes]), "## Provenance", *_provenance(report)]
    parts.append(f"The same numbers at full precision: {escape(stem)}.json.")
    return "\n\n".join(part for part in parts if part) + "\n"


def sentence(text: str) -> str:
    """A sentence of ours, which may hold names from outside, as inert Markdown."""
    return escape(text, 4000)


def bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence(text)}" for text in sentences)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int = 1) -> str:
    """A pipe table; the first `text_columns` columns are set left, the others right. Cells are escaped already."""
    rule = [":--" if i < text_columns else "--:" for i in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def _banner(report: Report) -> list[str]:
    if not report.mismatches:
        return []
    lines = "\n".join(
        f"> - {escape(m.setting)}: {escape(m.run)} has {escape(m.here)}"
        + (f", before has {escape(m.before)}" if m.before else "")
        for m in report.mismatches
    )
    return [
        "> **Warning: these runs are not fit to be compared, and were because --allow-mismatch was given.** "
        f"Differences may come from this and not from the models:\n{lines}"
    ]


def _difference(row: GroupNumbers, *, control: bool = False) -> str:
    estimate = row.against_control if control else row.change.estimate
    sign = {"fell": " ▼", "rose": " ▲"}.get(direction(estimate), "")
    return wording.estimate_points(estimate) + sign


def _share(side: Side) -> str:
    return wording.estimate_percent(side.accuracy)


def _abstained(row: GroupNumbers) -> str:
    if row.before.abstained is None:
        return wording.NONE
    return f"{wording.percent(row.before.abstained)} → {wording.percent(row.after.abstained)}"


def _arm(arm: ArmNumbers, report: Report, stem: str) -> list[str]:
    against = report.control is not None and not arm.is_control
    header = ["facts", "n", "prior", "before", "after", "difference"]
    header += ["to the control"] if against else []
    header += ["abstained", "lost", "gained"]
    rows = [
        [
            row.group,
            f"{row.n:,}",
            wording.percent(row.prior),
            _share(row.before),
            _share(row.after),
            _difference(row),
            *([_difference(row, control=True)] if against else []),
            _abstained(row),
            wording.count(row.change.lost, len(arm.seeds)) if row.n else wording.NONE,
            wording.count(row.change.gained, len(arm.seeds)) if row.n else wording.NONE,
        ]
        for row in arm.groups
    ]
    return [
        f"## {escape(arm.label)}{' (control)' if arm.is_control else ''}",
        _training(arm),
        table(header, rows),
        *_migration(arm),
        *(part for state, flips in arm.flips.items() for part in _flips(state.capitalize(), flips, arm, stem)),
        "" if arm.flips else f"Lost and gained facts: {wording.NOT_LOGGED}.",
    ]


def _verdict(report: Report) -> list[str]:
    if report.verdict is None:
        return []
    header = ["arm", "verdict", "against", "facts", "n", "difference", "margin", "passes above", "fails below"]
    rows = [
        [
            escape(v.arm),
            v.outcome,
            escape(v.against),
            v.group,
            f"{v.estimate.n:,}" if v.estimate else "0",
            wording.estimate_points(v.estimate),
            wording.size(v.margin),
            wording.NONE if v.passes_from is None else wording.size(v.passes_from),
            wording.NONE if v.fails_below is None else wording.size(v.fails_below),
        ]
        for v in report.verdict.verdicts
    ]
    turns = report.verdict.turns or ("Nothing can be said: the interval is undefined.",)
    return [
        "## Verdict",
        table(header, rows, text_columns=4),
        bullets(v.sentence for v in report.verdict.verdicts),
        "What would change it:",
        bullets(turns),
    ]


def _migration(arm: ArmNumbers) -> list[str]:
    found = arm.migration
    if found is None:
        return []

    def cell(count: float, share: Estimate | None) -> str:
        return f"{wording.expected(count, whole=not found.expected)} ({wording.estimate_percent(share)})"

    rows = [
        [
            row.category,
            wording.expected(row.n, whole=not found.expected),
            *(cell(*pair) for pair in zip(row.counts, row.shares, strict=True)),
            wording.percent(row.kept),
        ]
        for row in found.rows
    ]
    header = ["before", "n", *(f"→ {row.category}" for row in found.rows), "redraw keeps"]
    told = (
        f"{found.n:,} facts stand in both probes ({escape(found.probe)}); counts are "
        f"{'expected ones' if found.expected else 'facts'}, shares of a row in percent. To a lower category "
        f"{wording.estimate_percent(found.down)} %, to a higher one {wording.estimate_percent(found.up)} %."
    )
    return ["### Migration of categories", told, table(header, rows)]


def _learning(report: Report) -> list[str]:
    if not any(arm.flips for arm in report.arms):
        return []
    shown = arm_charts.turned_rows(report.arms)
    parts = [
        "Forgotten: of the facts that were right before, the share that is wrong now. Learned: of those that were "
        "wrong, the share that is right now."
    ]
    rows = [
        [
            escape(arm.label),
            row.group,
            arm_charts.turned_text(row.turned.forgotten, row.turned.was_right),
            arm_charts.turned_text(row.turned.learned, row.turned.was_wrong),
        ]
        for arm, row in shown
        if row.turned
    ]
    parts.append(table(["arm", "facts", "forgotten", "learned"], rows, text_columns=2))
    sides = [("before", report.arms[0].groups[0].wrong_before)]
    sides += [(escape(arm.label), arm.groups[0].wrong_after) for arm in report.arms]
    wrong = [
        [
            name,
            wording.decimal(side.wrong),
            *(
                wording.NONE if part is None else wording.decimal(part)
                for part in (side.abstained, side.echo, side.echo_before, side.entity, side.other)
            ),
        ]
        for name, side in sides
        if side
    ]
    header = ["wrong answers", "wrong", "abstained", "echo of a training answer", "such echoes before"]
    header += ["another fact’s answer", "other"]
    return [*parts, table(header, wrong)]


def _curves(report: Report) -> list[str]:
    parts = []
    for arm in report.arms:
        if arm.training_curves:
            header, rows = curve_charts.curve_table(arm.training_curves)
            told = sentence(curve_charts.told(arm.training_curves))
            parts += [f"### Training curves, {escape(arm.label)}", told, table([escape(name) for name in header], rows)]
    return parts


def _training(arm: ArmNumbers) -> str:
    seeds = ", ".join("not recorded" if seed is None else str(seed) for seed in arm.seeds)
    facts = [f"seeds {seeds}" if len(arm.seeds) > 1 else f"seed {seeds}"]
    facts += [f"{name.replace('_', ' ')} {escape(brief(value))}" for name, value in arm.training.items()]
    return ", ".join(facts) + "."


def _flips(what: str, flips: Sequence[Flip], arm: ArmNumbers, stem: str) -> list[str]:
    several = len(arm.seeds) > 1
    heading = f"### {what}: {len(flips):,} fact{'s' * (len(flips) != 1)}"
    heading += f" in at least one of {len(arm.seeds)} seeds" if several else ""
    if not flips:
        return [heading]
    header = ["category", "relation", "question", "accepted", "before", "after", "wrong answer"]
    header += ["seeds"] if several else []
    rows = [
        [
            flip.category or wording.NONE,
            escape(flip.fact.relation),
            escape(flip.fact.question),
            _accepted(flip),
            _answer(flip.before),
            "; ".join(_answer(a) + (f" ×{times}" if several else "") for a, times in tally(flip.after)),
            TOLD[Kind(flip.kind)] if flip.kind else wording.NONE,
            *([f"{flip.seeds} of {len(arm.seeds)}"] if several else []),
        ]
        for flip in flips[:LIST_LIMIT]
    ]
    rest = len(flips) - len(rows)
    note = f"The first {LIST_LIMIT} are shown; {rest:,} more stand in {escape(stem)}.json." if rest > 0 else ""
    return [heading, table(header, rows, text_columns=len(header)), note]


def _answer(text: str) -> str:
    return escape(text) if text else "*(empty)*"


def _accepted(flip: Flip) -> str:
    shown = "; ".join(_answer(answer) for answer in flip.fact.answers[:5])
    rest = len(flip.fact.answers) - 5
    return f"{shown} and {rest} more" if rest > 0 else shown


def _relations(report: Report) -> str:
    def cell(side: Side) -> str:
        return f"{_share(side)} (abst. {wording.percent(side.abstained)})"

    header = ["relation", "n", "prior", "before"]
    for arm in report.arms:
        header += [escape(arm.label), "difference"]
    rows = [
        [
            escape(row.relation) or "(none)",
            f"{row.n:,}",
            wording.percent(row.prior),
            cell(row.before),
            *(
                text
                for side, change in zip(row.after, row.changes, strict=True)
                for text in (cell(side), wording.estimate_points(change.estimate))
            ),
        ]
        for row in report.relations
    ]
    return table(header, rows)


def _noise(report: Report) -> list[str]:
    parts = ["**The category's own answers against fresh ones.** " + sentence(report.selection_note)]
    if report.selection:
        rows = [
            [row.category, f"{row.n:,}", wording.percent(row.category_sets), wording.percent(row.fresh_sets)]
            for row in report.selection
        ]
        parts.append(table(["category", "n", "right under the category's sets", "right under fresh sets"], rows))
    parts.append("**Seeds of the control against each other.** " + sentence(report.seeds_note))
    if report.seeds:
        lines = [
            [
                row.group,
                f"{row.n:,}",
                ", ".join(wording.percent(value) for value in row.accuracies),
                wording.size(row.spread),
                wording.estimate_points(row.largest),
                f"{row.apart} of {row.pairs}",
            ]
            for row in report.seeds
        ]
        header = ["facts", "n", "accuracy of each seed", "standard deviation", "furthest pair", "pairs apart"]
        parts.append(table(header, lines))
    return parts


def _shares(report: Report) -> list[str]:
    if report.shares is None:
        return []
    whose = "the probe of the base model" if report.shares.source == "probe" else "the score runs"
    whole = not report.shares.expected
    rows = [
        [row.category, wording.expected(row.n, whole=whole), wording.estimate_percent(row.share)]
        for row in report.shares.categories
    ]
    whose += "" if whole else ", as expected shares of the exact estimator"
    return [
        "## What the model knew",
        f"{report.shares.n:,} facts, by {whose}.",
        table(["category", "n", "share"], rows),
    ]


def _provenance(report: Report) -> list[str]:
    s = report.settings
    length = "the longest answer is not recorded"
    if s.max_gen_toks is not None:
        length = f"at most {s.max_gen_toks} tokens an answer"
    told = f"Form {escape(s.form)}; {escape(s.chat)}; matching: {escape(s.matching)}; {length}."
    header = [
        "role",
        "label",
        "seed",
        "run",
        "model",
        "weights",
        "adapter",
        "tokenizer",
        "facts",
        "prompts",
        "training set",
        "backend",
        "made",
    ]
    rows = [
        [
            run.role,
            escape(run.label),
            wording.NONE if run.seed is None else str(run.seed),
            escape(run.path),
            escape(run.model["name"] or wording.NONE),
            *(escape(brief(run.model[name])) for name in ("weights", "adapter", "tokenizer")),
            escape(brief(run.facts)),
            escape(brief(run.prompts)),
            escape(brief(run.training_set)),
            escape(run.backend["name"] or wording.NONE),
            escape(run.date[:16]),
        ]
        for run in report.runs
    ]
    by_runs = versions_by_runs(report)
    versions = [
        (f"{escape(', '.join(paths))}: " if len(by_runs) > 1 else "")
        + (", ".join(f"{escape(name)} {escape(version)}" for name, version in found) or "no library versions recorded")
        for found, paths in by_runs
    ]
    lacks = [f"{escape(run.path)} records {sentence('; '.join(run.lacks))}." for run in report.runs if run.lacks]
    return [
        told,
        table(header, rows, text_columns=len(header)),
        *lacks,
        *versions,
        "Made with:",
        _literal(report.command),
    ]


def _literal(text: str) -> str:
    """Text to be copied, in an indented block; where it could pass for HTML, escaped like any other."""
    shown = visible(text)
    return sentence(text) if re.search("[<>&]", shown) else f"    {shown}"
