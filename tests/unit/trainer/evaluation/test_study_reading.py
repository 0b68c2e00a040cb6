"""A project as a study: by way of the mirror, from what was pulled, against a gold file."""

from __future__ import annotations

from pathlib import Path

import pytest

from label_configs.drawing import is_holdout
from label_configs.errors import ConfigError, LabelStudioError
from ml_backend.ordering import is_random
from ml_backend.settings import Settings
from tests.unit.trainer.pulling import PROJECT, Coded, result
from trainer.evaluation.study_reading import mirrored_study, open_study, refresh_study


@pytest.fixture
def coded(tmp_path: Path) -> Coded:
    return Coded(tmp_path)


def offline(coded: Coded) -> Settings:
    return Settings(home=coded.home)  # no token: a connection would be refused


def test_a_study_has_the_documents_with_what_is_known_of_them(coded: Coded) -> None:
    refresh_study(coded.fake, coded.project)
    study = mirrored_study(coded.project)
    assert list(study.documents) == [f"d{number}" for number in range(12)]
    review, training = coded.project.experiment.review, coded.project.experiment.training
    for name, document in study.documents.items():
        assert document.holdout is is_holdout(name, 0.3)
        assert document.random is is_random(name, review, training)
        assert document.task_id == int(name[1:]) + 1
    assert study.url == "http://fake"
    assert study.task_url(3) == f"http://fake/projects/{PROJECT}/data?task=3"
    assert study.truth_from == "what the coders agree on (majority)"
    assert set(study.configs) == set(study.versions) == {"words", "again"}


def test_offline_is_what_was_pulled_last_without_a_connection(coded: Coded) -> None:
    with pytest.raises(ConfigError, match=r"project 7: nothing was read of it yet; run `winnow pull --project 7`"):
        open_study(offline(coded), PROJECT, offline=True)
    refresh_study(coded.fake, coded.project)
    assert len(open_study(offline(coded), PROJECT, offline=True).decisions) == 12, "from the mirror"
    coded.pull()
    coded.fake.annotate(coded.ids[8], result(8))
    refresh_study(coded.fake, coded.project)
    assert len(open_study(offline(coded), PROJECT, offline=True).decisions) == 12, "from the pulled files"
    coded.fake.away = True
    with pytest.raises(LabelStudioError):
        coded.pull()
    assert len(open_study(offline(coded), PROJECT, offline=True).decisions) == 12
    with pytest.raises(ConfigError, match="WINNOW_LABEL_STUDIO_TOKEN is not set"):
        open_study(offline(coded), PROJECT)


def test_a_gold_file_is_the_truth_instead_of_the_coders(coded: Coded) -> None:
    gold = coded.home / "gold.csv"
    gold.write_text("id,labels\nd0,earn\nd9,grain\n")
    refresh_study(coded.fake, coded.project)
    coded.pull()
    for study in (mirrored_study(coded.project, gold=gold), open_study(offline(coded), 7, offline=True, gold=gold)):
        assert study.truth == {"d0": ("earn",), "d9": ("grain",)}
        assert study.truth_from == "the gold file gold.csv"
        assert len(study.examples) > 2


def test_an_unknown_project_is_told(coded: Coded) -> None:
    with pytest.raises(ConfigError, match="project 8: not known to Winnow"):
        open_study(offline(coded), 8, offline=True)
