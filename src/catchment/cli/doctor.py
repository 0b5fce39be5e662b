"""`catchment doctor`: whether every configured part can be reached, and how to fix what cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click
import msgspec

from catchment.cli.checks import examine
from catchment.cli.exits import ExitCode
from catchment.cli.project import with_project
from catchment.config import Project
from catchment.finding import Finding
from catchment.secret import redact


@click.command()
@with_project
@click.option("--json", "is_json", is_flag=True, help='Print {"ok", "findings"} as JSON.')
@click.option("--archive", "whole_archive", is_flag=True, help="Read the whole archive, rather than its newest files.")
def doctor(project: Project, is_json: bool, whole_archive: bool) -> ExitCode:
    """Check that every configured part can be reached.

    Disturbs nothing that runs. Exits with 3 if something is not well.
    """
    findings = list(examine(project, whole_archive=whole_archive))
    is_well = all(finding.is_well for finding in findings)
    if is_json:
        found = {"ok": is_well, "findings": [_public(finding) for finding in findings]}
        click.echo(redact(msgspec.json.format(msgspec.json.encode(found)).decode()))
    else:
        click.echo(redact(_table(findings)))
    return ExitCode.DONE if is_well else ExitCode.NOT_WELL


def _public(finding: Finding) -> dict[str, object]:
    return {**asdict(finding), "hint": "" if finding.is_well else finding.hint}


def _table(findings: Sequence[Finding]) -> str:
    width = max(len(finding.subject) for finding in findings)
    lines = []
    for finding in findings:
        mark = "ok " if finding.is_well else "NOT"
        lines.append(f"{mark}  {finding.subject:<{width}}  {finding.detail}")
        if not finding.is_well and finding.hint:
            lines.append(f"     {'':<{width}}  Try: {finding.hint}")
    return "\n".join(lines)
