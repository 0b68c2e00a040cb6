"""The whole report of a project: every analysis, a summary in plain words, and what it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from label_configs.errors import WinnowError
from trainer.evaluation.blocks import Finding, Section, Tone
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.plain import sections_json
from trainer.evaluation.report_manifest import report_manifest
from trainer.evaluation.study import Study
from trainer.evaluation.summary import summary_of

LAST = ("definitions",)  # sections to look things up in
Analyse = Callable[[Study, ReportOptions], Section | Sequence[Section]]


@dataclass(frozen=True)
class Report:
    """``sections`` in the order in which they are shown, after ``summary``, whose findings are by tone.

    ``manifest`` is plain data: enough to make the same figures again (see ``report_manifest``). Reports of the same
    study with the same options differ in ``made_at`` alone.
    """

    title: str
    made_at: datetime
    sections: tuple[Section, ...]
    manifest: Mapping[str, Any]
    summary: Section

    def as_json(self) -> dict[str, Any]:
        """Plain data for ``json.dumps``: what is undefined is null, never NaN."""
        (summary,) = sections_json([self.summary]).values()
        return {
            "title": self.title,
            "made_at": self.made_at.isoformat(timespec="seconds"),
            "summary": {"findings": summary["findings"], "notes": summary["notes"]},
            "sections": sections_json(self.sections),
            "manifest": dict(self.manifest),
        }


@dataclass(frozen=True)
class Analysis:
    """One analysis of the report. ``key`` and ``title`` are those of the section that stands for it where it fails."""

    key: str
    title: str
    run: Analyse

    def sections(self, study: Study, options: ReportOptions) -> Iterator[Section]:
        """What it shows; where it raises a WinnowError, a section that says why there is nothing to show."""
        try:
            found = self.run(study, options)
        except WinnowError as error:
            found = Section(self.key, self.title, (Finding(f"Not computed: {error}", Tone.WARNING),))
        yield from [found] if isinstance(found, Section) else found


def analyses() -> tuple[Analysis, ...]:
    """All analyses, in the report's order. They load what they need when they are asked for."""
    from trainer.evaluation.agreement import agreement_sections
    from trainer.evaluation.calibration_plot import calibration_section
    from trainer.evaluation.coder_table import coder_section
    from trainer.evaluation.comparing import comparison_section
    from trainer.evaluation.contamination import contamination_section
    from trainer.evaluation.curve import curve_section
    from trainer.evaluation.label_errors import label_error_section
    from trainer.evaluation.performance import performance_sections
    from trainer.evaluation.spending_table import cost_section
    from trainer.evaluation.stability import stability_section
    from trainer.evaluation.subgroups import subgroup_section
    from trainer.evaluation.working import effort_sections

    return (
        Analysis("performance", "Performance", performance_sections),
        Analysis("comparison", "Comparison of sources", comparison_section),
        Analysis("calibration", "Calibration", calibration_section),
        Analysis("subgroups", "Groups", subgroup_section),
        Analysis("stability", "Stability", stability_section),
        Analysis("contamination", "Documents in training and evaluation", contamination_section),
        Analysis("curve", "Learning curve", curve_section),
        Analysis("agreement", "Agreement", agreement_sections),
        Analysis("label_errors", "Likely label errors", label_error_section),
        Analysis("effort", "Effort", effort_sections),
        Analysis("coders", "Coders", coder_section),
        Analysis("costs", "Costs", cost_section),
    )


def make_report(study: Study, options: ReportOptions, *, made_at: datetime | None = None) -> Report:
    """Everything that can be said of a study. What cannot be computed says why; no analysis ends the report."""
    found = [section for analysis in analyses() for section in analysis.sections(study, options)]
    sections = tuple(sorted(found, key=lambda section: section.key in LAST))
    return Report(
        f"{study.title}: report",
        made_at or datetime.now(UTC),
        sections,
        report_manifest(study, options),
        summary_of(study, sections),
    )
