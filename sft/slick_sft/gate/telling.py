"""What a gate found, told on a terminal and in its files."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from slick.files import write_json
from slick.terminal import print_table
from slick_reports import wording
from slick_sft.gate.baselines import GATE
from slick_sft.gate.outputs import print_report, write_files, write_summary
from slick_sft.gate.policy import Policy
from slick_sft.gate.report import GateReport
from slick_sft.gate.self_check import Line, as_dict, noise_of


def tell(report: GateReport, out: Path | None, json: Path | None, markdown: Path | None, junit: Path | None) -> None:
    """Prints the verdict and writes its files. In a workflow nothing of it is taken for a command."""
    word = secrets.token_hex(16) if os.environ.get("GITHUB_ACTIONS") == "true" else ""
    if word:
        print(f"::stop-commands::{word}", flush=True)
    print_report(report)
    if word:
        print(f"::{word}::", flush=True)
    written = write_files(report, json=json, markdown_file=markdown, junit_file=junit)
    if out is not None:
        written += write_files(report, json=out / GATE, markdown_file=out / "gate.md", junit_file=out / "gate.xml")
    write_summary(report)
    for path in written:
        print(path)


def tell_self_check(lines: Sequence[Line], policy: Policy, json: Path | None) -> None:
    """Prints what can be shown, and writes it to `json`."""
    rows = [
        (
            line.name,
            f"{line.noise.n:,}",
            wording.percent(line.discordant),
            wording.size(line.noise.item**0.5),
            wording.size(line.noise.beyond**0.5),
            wording.points(line.largest),
            f"{line.apart} of {line.splits}",
            wording.size(line.smallest) if line.smallest is not None else wording.UNDEFINED,
            wording.size(line.margin),
        )
        for line in lines
    ]
    header = (
        "facts",
        "n",
        "discordant %",
        "sd by facts",
        "sd by seeds",
        "largest",
        "apart",
        "smallest margin",
        "asked",
    )
    print_table("control seeds against other control seeds; margins and differences in points", header, rows)
    for line in lines:
        print(line.sentence)
    noise = noise_of(lines)
    print(f"for the policy: noise: {{discordant: {noise['discordant']:g}, seeds_sd: {noise['seeds_sd']:g}}}")
    if json:
        write_json(json, as_dict(lines, policy))
        print(json)
