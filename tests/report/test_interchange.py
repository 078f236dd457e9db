"""A diagnosis survives JSON, and what is not one is refused with place and mend."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from aetia.model.diagnosis import Diagnosis
from aetia.model.errors import ReportError
from aetia.report.interchange import from_json, json_schema, load_diagnosis, to_json


def test_a_diagnosis_survives_json(make_diagnosis, no_answer: Diagnosis) -> None:
    for diagnosis in (make_diagnosis(), no_answer):
        assert from_json(to_json(diagnosis)) == diagnosis
        assert from_json(to_json(diagnosis, indent=0)) == diagnosis


def test_numpy_numbers_of_an_algorithm_are_written_as_numbers(make_diagnosis) -> None:
    hypothesis = msgspec.structs.replace(make_diagnosis().hypotheses[0], score=np.float64(2.5))
    assert from_json(to_json(make_diagnosis(hypotheses=(hypothesis,)))).hypotheses[0].score == 2.5


def test_the_schema_names_every_field_of_a_diagnosis() -> None:
    schema = json_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    assert set(schema["$defs"]["Diagnosis"]["properties"]) == set(Diagnosis.__struct_fields__)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"localizer": 1}', b"\xff\xfe", b'{"schema": "other/9", "localizer": "x", "incident": null}'],
)
def test_what_is_no_diagnosis_is_refused_with_its_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(ReportError, match=r"report\.json"):
        load_diagnosis(path)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="cannot be read: No such file"):
        load_diagnosis(tmp_path / "none.json")
