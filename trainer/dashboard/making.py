"""Makes one project's report for the dashboard and keeps it: the process that the scheduler starts.

    python -m trainer.dashboard.making 7

It reads the environment as every command does. What goes wrong is one line on standard error, and kept for the page.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence

from label_configs.errors import WinnowError
from ml_backend.experiment import Project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.registered_projects import load_project
from ml_backend.settings import Settings, load_settings
from trainer.dashboard.kept_report import KeptReport, KeptSection, save_fault, save_report
from trainer.evaluation.blocks import Section
from trainer.evaluation.study import Study
from trainer.logs import log_to_stderr
from trainer.mirror import Mirror

FIRST = (  # keys of sections
    "summary", "curve", "agreement", "agreement-pairs", "agreement-codes", "disagreements", "agreement-time",
    "agreement-repeats", "anchoring", "coders", "sources",
)  # fmt: skip


def make(settings: Settings, project: Project) -> KeptReport:
    """Bring the mirror up to date, judge what it holds, and keep the report. Raises a WinnowError."""
    from trainer.evaluation.study_reading import mirrored_study, refresh_study

    began = time.monotonic()
    refresh_study(LabelStudioClient(settings), project)
    with Mirror(project.folder) as mirror:
        revision = mirror.revision  # of before the reading: what comes meanwhile is newer
    report = report_of(project, mirrored_study(project), revision, began)
    save_report(project.folder, report)
    return report


def report_of(project: Project, study: Study, revision: str, began: float) -> KeptReport:
    """The report of a study; ``began`` is when its making did, by the monotonic clock."""
    from trainer.dashboard.disagreements import disagreement_section
    from trainer.dashboard.source_table import kept_rates, source_section
    from trainer.evaluation.options import ReportOptions
    from trainer.evaluation.plain import sections_json
    from trainer.evaluation.whole_report import make_report

    options = ReportOptions(folder=project.folder)
    rates = kept_rates(study, options)
    report = make_report(study, options)
    own = (source_section(study, rates), disagreement_section(study, options))
    sections = in_order((report.summary, *own, *report.sections))
    values = {name: rate.value for name, rate in rates.items()}
    shown, seconds = kept_sections(sections), round(time.monotonic() - began, 1)
    return KeptReport(study.title, report.made_at, seconds, revision, shown, sections_json(sections), values)


def in_order(sections: Sequence[Section]) -> list[Section]:
    """What managers look at first, first; the others in the order of the report."""
    place = {key: number for number, key in enumerate(FIRST)}
    return sorted(sections, key=lambda one: place.get(one.key, len(FIRST)))


def kept_sections(sections: Sequence[Section]) -> tuple[KeptSection, ...]:
    """Sections as the page shows them."""
    from trainer.evaluation.block_tables import by_key
    from trainer.evaluation.page import section_html

    ids = {f"report-{re.sub(r'[^A-Za-z0-9_-]', '_', key)}": one for key, one in by_key(sections).items()}
    return tuple(KeptSection(key, one.title, section_html(one, id=key)) for key, one in ids.items())


def main(arguments: Sequence[str]) -> int:
    """0 when a report is kept, 2 when none could be made. Takes what time of the processor others leave."""
    os.nice(19)
    try:
        settings = load_settings()
        log_to_stderr(settings)
        project = load_project(settings.home, int(arguments[0]))
    except WinnowError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    try:
        make(settings, project)
    except WinnowError as error:
        save_fault(project.folder, str(error))
        sys.stderr.write(f"{error}\n")
        return 2
    except Exception as error:  # the process's edge: the page must say that there is no newer report
        save_fault(project.folder, f"unexpected {type(error).__name__}; {project.folder.name}'s dashboard.log has it")
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
