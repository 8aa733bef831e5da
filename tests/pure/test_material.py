"""What a report is made of goes to a folder and comes back the same; what is none is refused in one line."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from replay.api import replay
from replay.engine import Options
from replay.report.material import Material
from tests.pure.small_traces import write
from tracer import Fault


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    trace = write(tmp_path_factory.mktemp("traces") / "small.trace")
    options = Options(logging=True, fragmentation=True, address_map=True)
    return Material.of(replay(trace, ["upstream", "oracle"], options), options)


@pytest.fixture
def folder(material: Material, tmp_path: Path) -> Path:
    material.write(tmp_path)
    return tmp_path


def test_what_was_written_is_what_is_read(material: Material, folder: Path) -> None:
    read = Material.read(folder)
    assert read.answer == json.loads(json.dumps(material.answer))
    for field in fields(Material):
        if field.name != "answer":
            assert getattr(read, field.name).equals(getattr(material, field.name)), field.name


def test_each_result_has_its_rows(material: Material) -> None:
    assert [result["policy"] for result in material.answer["results"]] == ["upstream", "oracle"]
    assert material.timeline.select("result", "policy").unique().sort("result").rows() == [
        (0, "upstream"),
        (1, "oracle"),
    ]


@pytest.mark.parametrize("name", ["fragmentation", "address_map"])
def test_what_was_not_kept_is_none(folder: Path, name: str) -> None:
    (folder / f"{name}.parquet").unlink()
    assert getattr(Material.read(folder), name) is None


def harm_nothing_there(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def harm_frame_missing(folder: Path) -> None:
    (folder / "latency.parquet").unlink()


def harm_frame_damaged(folder: Path) -> None:
    (folder / "timeline.parquet").write_bytes(b"PAR1 no more than this PAR1")


def harm_answer_cut(folder: Path) -> None:
    (folder / "results.json").write_text('{"trace": ')


def harm_answer_of_another_kind(folder: Path) -> None:
    (folder / "results.json").write_text("[1, 2]")


HARMS = [
    harm_nothing_there,
    harm_frame_missing,
    harm_frame_damaged,
    harm_answer_cut,
    harm_answer_of_another_kind,
]


@pytest.mark.parametrize("harm", HARMS)
def test_a_folder_of_something_else_is_refused(folder: Path, harm: object) -> None:
    assert callable(harm)
    harm(folder)
    with pytest.raises(Fault) as fault:
        Material.read(folder)
    assert str(folder) in fault.value.what
    assert "pagetide replay" in fault.value.fix
    assert fault.value.how
    assert "\n" not in fault.value.how
