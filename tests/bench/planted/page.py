"""`gate.md` and `gate.svg` from `gate.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from slick_reports.svg import Axis, element, label, line, marker, picture

Result = Mapping[str, Any]

# What the picture shows, with the shape of each.
_DRAWN = {"point_threshold": "square", "unpaired_z": "triangle", "mcnemar": "diamond", "slick_3": "circle"}
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#222}.small{font-size:11px;fill:#666}.head{font-weight:600}"
    ".grid{stroke:#ddd}.margin{stroke:#888;stroke-dasharray:4 3}.line{fill:none;stroke-width:1.6}"
    ".r0 .line{stroke:#8a6d3b}.r0 .mark{fill:#8a6d3b}.r1 .line{stroke:#8e44ad}.r1 .mark{fill:#8e44ad}"
    ".r2 .line{stroke:#c0392b}.r2 .mark{fill:#c0392b}.r3 .line{stroke:#0b4a8f;stroke-width:2.4}.r3 .mark{fill:#0b4a8f}"
    "@media(prefers-color-scheme:dark){text{fill:#e6e6e6}.small{fill:#a0a0a0}.grid{stroke:#444}.margin{stroke:#999}"
    ".r0 .line{stroke:#d9b77c}.r0 .mark{fill:#d9b77c}.r1 .line{stroke:#c79be0}.r1 .mark{fill:#c79be0}"
    ".r2 .line{stroke:#f08a7d}.r2 .mark{fill:#f08a7d}.r3 .line{stroke:#7db8ff}.r3 .mark{fill:#7db8ff}}"
)
_WIDTH, _PANEL, _TOP, _BOTTOM = 780, 380, 74, 300


def picture_of(found: Result) -> str:
    """How often rules pass and fail an arm, by what it truly lost, at the usual margin."""
    margin = found["usual_margin"]
    drops = {arm["name"]: arm["true_drop"] for arm in found["arms"]}
    low, high = min([*drops.values(), 0.0]), max([*drops.values(), 2 * margin])
    pieces = [
        element("style", Markup(_STYLE)),
        label(f"Fine-tunings whose drop is known, judged at a margin of {100 * margin:g} points", 8, 18, "head"),
    ]
    said = []
    x = 8.0
    for place, (name, shape) in enumerate(_DRAWN.items()):
        title = found["rules"][name]["title"]
        pieces.append(element("g", marker(shape, x + 6, 36), class_=f"r{place}"))
        pieces.append(label(title, x + 16, 40, "small"))
        x += 30 + 6.0 * len(title)
    for panel, (outcome, heading) in enumerate((("PASS", "gates that pass"), ("FAIL", "gates that fail"))):
        left = panel * (_PANEL + 10) + 44.0
        across = Axis(100 * low, 100 * high, left, panel * (_PANEL + 10) + _PANEL - 8.0)
        up = Axis(0, 100, _BOTTOM, _TOP)
        pieces += [label(f"{heading}, in percent", left - 36, _TOP - 12), *_axes(across, up, 100 * margin)]
        for place, (name, shape) in enumerate(_DRAWN.items()):
            shares = found["rules"][name]["at_the_usual_margin"]
            points = sorted((100 * drops[arm], 100 * share[outcome], arm) for arm, share in shares.items())
            path = "M" + "L".join(f"{across.at(a):.1f} {up.at(b):.1f}" for a, b, _ in points)
            marks = [
                marker(shape, across.at(a), up.at(b), f"{arm}: drop {a:.2f} points, {outcome} {b:.1f} %", r=3.6)
                for a, b, arm in points
            ]
            pieces.append(element("g", element("path", d=path, class_="line"), *marks, class_=f"r{place}"))
            (first, low_share, _), (last, high_share, _) = points[0], points[-1]
            said.append(
                f"{found['rules'][name]['title']}, {outcome}: from {low_share:.0f} % at a drop of {first:.1f} points "
                f"to {high_share:.0f} % at {last:.1f}"
            )
    pieces.append(
        label("true drop of Known facts in points (one mark an arm; dashed: the margin)", 44, _BOTTOM + 36, "small")
    )
    title = "How often each rule passes and fails an arm, by what it truly lost"
    return str(picture("gate", _WIDTH, _BOTTOM + 46, title, "; ".join(said), *pieces)) + "\n"


def _axes(across: Axis, up: Axis, margin: float) -> list[Markup]:
    pieces = []
    for tick in up.ticks(5):
        pieces.append(line(across.left, up.at(tick), across.right, up.at(tick), "grid"))
        pieces.append(label(f"{tick:g}", across.left - 6, up.at(tick) + 4, "small", "end"))
    for tick in across.ticks(6):
        pieces.append(label(f"{tick:g}", across.at(tick), _BOTTOM + 16, "small", "middle"))
    return [*pieces, line(across.at(margin), _TOP, across.at(margin), _BOTTOM, "margin")]


def page_of(found: Result) -> str:
    """The whole of gate.md."""
    bank, gates = found["bank"], found["gates"]
    lines = [
        "# How the gate judges fine-tunings whose harm is known",
        f"`make bench-gate`: {bank['tunings']} fine-tunings of the lab's organism ({bank['epochs']} epochs, batches of "
        f"{bank['batch_size']}; {bank['processor_s'] / 60:.0f} minutes of processor time), each asked "
        f"{bank['facts_asked']:,} held-out test facts; the {bank['facts_gated']:,} Known ones, of {bank['subjects']} "
        "subjects, are gated. One dataset for each share of Unknown rows, several seeds of the training. The control "
        "is the dataset without Unknown rows, at the same rate, with as many steps. An arm's true drop is the mean "
        "over all its seeds and facts. A gate sees some of the seeds, paired, and facts drawn anew.",
        "",
        "![How often each rule passes and fails an arm, by what it truly lost](gate.svg)",
        "",
        *_bars(found),
        "",
        "## What is usual, and the gate",
        f"{gates:,} gates an arm and number of seeds, runs and facts drawn with replacement from the bank; in percent "
        "of gates, over the arms. No drop: the control against itself, at a margin of "
        f"{100 * found['usual_margin']:g} points. The others: each planted arm judged at a margin of twice its true "
        "drop, at its true drop, and at half of it. At the margin a sound rule has about 5 % of PASS and of FAIL at "
        "most; what is neither is INCONCLUSIVE.",
        "",
        "| rule | no drop: PASS | FAIL | half the margin: PASS | FAIL | at the margin: PASS | FAIL "
        "| twice the margin: PASS | FAIL |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|--:|",
        *(_shares_row(rule) for rule in found["rules"].values()),
        "",
        "The same with gates of which no two share a candidate, each judged once: few, and so with wide bounds "
        "(Clopper–Pearson, 95 %). The arms of a rate share their controls.",
        "",
        "| rule | misses at the margin | misses at twice the margin | false alarms at the margin "
        "| false alarms at half of it, or without a drop |",
        "|:--|--:|--:|--:|--:|",
        *(_counts_row(rule) for rule in found["rules"].values()),
        "",
        "## The arms, and the gate's size at each",
        "Drop: of right answers on Known facts, in points; its interval by the gate's own rule over all seeds. Spread: "
        "standard deviation of single runs. Size: in percent of gates at a margin of exactly the arm's drop, where "
        "about 5 % of PASS and of FAIL are allowed.",
        "",
        "| arm | seeds | right, % | true drop | spread | 3 seeds: PASS | FAIL | 5 seeds: PASS | FAIL |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|--:|",
        *(_arm_row(arm, found["size"]) for arm in found["arms"]),
        "",
        *_checkpoints(found["one_checkpoint"]),
        "",
        "## Given what an open verdict asked for",
        "Every INCONCLUSIVE says how many facts or seeds would settle it. It was given these in one independent draw; "
        "an arm without a drop should then PASS, one at twice the margin FAIL. "
        f"{found['gates_followed']:,} gates a line; in percent of the open verdicts, with its 90 % interval (Wilson).",
        "",
        "| arm | margin | seeds, facts at first | open | asked for, median | settled rightly |",
        "|:--|--:|--:|--:|--:|--:|",
        *(_asked_row(cell) for cell in found["asked"] if cell["open"]),
        "",
        "Facts that are drawn beyond those of the bank are drawn from these again; they stand for facts of the same "
        f"kind. What the bank cannot say: its seeds lie {_spreads(found)} points apart, little beyond what their facts "
        "explain, so that it does not try a gate whose seeds lie far apart; nor another model, dataset or kind of "
        "facts.",
    ]
    return "\n".join(lines) + "\n"


def _bars(found: Result) -> list[str]:
    bars = found["bars"]
    never, at_pass, at_fail = (
        bars[name] for name in ("never_pass_at_twice_the_margin", "pass_at_the_margin", "fail_at_the_margin")
    )
    settled, titles = bars["settled_rightly"], {name: rule["title"] for name, rule in found["rules"].items()}
    counts = "; ".join(f"{titles[name]}: {k} of {n}" for name, (k, n) in never["counts"].items())
    resampled = "; ".join(f"{titles[name]} {_percent(share)} %" for name, share in never["resampled"].items())
    lines = [
        f"- Arms worse by twice the margin never pass: **{_met(never)}** ({counts}; of resampled gates, the worst arm: "
        f"{resampled}).",
        f"- PASS at a drop of exactly the margin in at most {_percent(at_pass['at_most'])} %: **{_met(at_pass)}** "
        f"(worst: {_percent(at_pass['worst'])} %, {at_pass['arm']}, {titles[at_pass['rule']]}).",
        f"- FAIL there likewise: **{_met(at_fail)}** (worst: {_percent(at_fail['worst'])} %, {at_fail['arm']}, "
        f"{titles[at_fail['rule']]}).",
    ]
    pooled = " and ".join(
        f"{_percent(share)} % {right}" for right, share in settled["pooled"].items() if share is not None
    )
    worst = settled["worst"]
    lines.append(
        f"- Open verdicts that were given what they asked for settle rightly in at least "
        f"{_percent(settled['at_least'])} %: **{_met(settled)}** "
        + (
            f"(worst of {settled['cells']} cells: {_percent(worst['settled_rightly'])} %, {worst['arm']}, margin "
            f"{100 * worst['margin']:.2g} points, {worst['seeds']} seeds, {worst['facts']} facts; in all {pooled})."
            if worst
            else "(no cell has enough open verdicts)."
        )
    )
    return lines


def _met(bar: Mapping[str, Any]) -> str:
    return "kept" if bar["met"] else "not kept"


def _shares_row(rule: Mapping[str, Any]) -> str:
    cells = (
        _percent(rule["resampled"][situation][outcome])
        for situation in ("none", "half", "at", "twice")
        for outcome in ("PASS", "FAIL")
    )
    return _row(rule["title"], *cells)


def _counts_row(rule: Mapping[str, Any]) -> str:
    names = (
        "miss_rate",
        "miss_rate_at_twice_the_margin",
        "false_alarm_rate",
        "false_alarm_rate_at_half_the_margin_or_none",
    )
    cells = []
    for name in names:
        (k, n), bounds = rule[f"{name}_counts"], rule[f"{name}_bounds_95"]
        cells.append(f"{k} of {n} ({_percent(bounds[0])} to {_percent(bounds[1])} %)" if bounds else "undefined")
    return _row(rule["title"], *cells)


def _arm_row(arm: Mapping[str, Any], size: Mapping[str, Any]) -> str:
    drop = "0, by itself"
    if "drop_interval_90" in arm:
        drop = "{:.2f} ({:.2f} to {:.2f})".format(*(100 * x for x in (arm["true_drop"], *arm["drop_interval_90"])))
    cells = (
        _percent(size[rule][arm["name"]][outcome]) if arm["name"] in size[rule] else "–"
        for rule in ("slick_3", "slick_5")
        for outcome in ("PASS", "FAIL")
    )
    accuracy, spread = f"{100 * arm['accuracy']:.1f}", f"{100 * arm['seeds_sd']:.2f}"
    return _row(arm["name"], arm["seeds"], accuracy, drop, spread, *cells)


def _checkpoints(found: Mapping[str, Any]) -> list[str]:
    own = found["slick_1"]
    if not own["gates"]:
        return []
    return [
        f"A verdict of one seed is about its two checkpoints. Judged at the drop of these two ({found['pairs']} pairs, "
        f"{own['gates']:,} gates, facts alone drawn anew) it passes {_percent(own['PASS'])} % and fails "
        f"{_percent(own['FAIL'])} %. Of training again it says nothing; the table above shows how often it would be "
        "wrong there."
    ]


def _spreads(found: Result) -> str:
    spreads = [100 * arm["seeds_sd"] for arm in found["arms"]]
    return f"{min(spreads):.1f} to {max(spreads):.1f}"


def _asked_row(cell: Mapping[str, Any]) -> str:
    low, high = cell["settled_rightly_interval_90"]
    asked = "out of reach"
    if cell["asked_facts_median"] is not None:
        asked = f"{cell['asked_facts_median']:,.0f} facts, {cell['asked_seeds_median']:g} seeds"
    return _row(
        cell["arm"],
        f"{100 * cell['margin']:.2f}",
        f"{cell['seeds']}, {cell['facts']:,}",
        f"{cell['open']:,}" + (f", {cell['out_of_reach']} out of reach" if cell["out_of_reach"] else ""),
        asked,
        f"{_percent(cell['settled_rightly'])} % {cell['right']} ({_percent(low)} to {_percent(high)})",
    )


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _percent(share: float | None) -> str:
    """One decimal; what is neither 0 nor 1 is never written as that."""
    if share is None:
        return "undefined"
    text = f"{100 * share:.1f}"
    if text in ("0.0", "100.0") and share not in (0, 1):
        return "< 0.1" if share < 0.5 else "> 99.9"
    return text.removesuffix(".0") if share in (0, 1) else text
