"""A folder of configuration files: merged key by key, every problem in the file it is in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monitor.config.files import read
from monitor.config.settings import Settings, load, look
from runbooks.problems import Problem, Problems, Severity


def folder(where: Path, **files: str) -> Path:
    """A folder with these files; `a_yaml` is `a.yaml`."""
    made = where / "conf.d"
    made.mkdir()
    for name, text in files.items():
        (made / name.replace("_", ".")).write_text(text)
    return made


def told(path: Path) -> list[str]:
    """The errors of a configuration, each with file name, line, column, code and text."""
    with pytest.raises(Problems) as caught:
        load(path)
    return [shown(problem) for problem in caught.value.problems]


def shown(problem: Problem) -> str:
    name = Path(problem.file).name
    return f"{name}:{problem.line}:{problem.col}: {problem.code}: {problem.text}"


def test_maps_of_several_files_are_one(tmp_path: Path) -> None:
    """Keys come together at every depth; `version` may stand in each file."""
    path = folder(
        tmp_path,
        a_yaml="version: 1\npaging:\n  receivers: [{type: log, name: day}]\n",
        b_yaml="version: 1\npaging:\n  route: {receivers: [day]}\ntiers: {error_rate: page}\n",
        c_yaml="paging: {links: {a: 'https://h'}}\ntiers: {refusal_rate: ticket}\n",
    )
    settings = load(path)[0]
    assert [receiver.name for receiver in settings.paging.receivers] == ["day"]
    assert settings.paging.route.receivers == ("day",)
    assert settings.paging.links == {"a": "https://h"}
    assert settings.tiers == {"error_rate": "page", "refusal_rate": "ticket"}


def test_a_key_given_twice_names_both_places(tmp_path: Path) -> None:
    """Neither file wins: values, lists and another version are told with both places."""
    path = folder(
        tmp_path,
        a_yaml="version: 1\nstore: sqlite:///a.db\npaging:\n  group_by: [feature]\n",
        b_yaml="paging:\n  group_by: [environment]\nstore: sqlite:///b.db\n",
    )
    a = path / "a.yaml"
    assert told(path) == [
        f"b.yaml:2:3: duplicate-key: paging.group_by is given twice; the first is at {a}:4:3",
        f"b.yaml:3:1: duplicate-key: store is given twice; the first is at {a}:2:1",
    ]


def test_everything_wrong_in_all_files_is_told_at_once(tmp_path: Path) -> None:
    """A file that does not even parse hides nothing that another one has wrong by itself."""
    path = folder(
        tmp_path,
        a_yaml="version: 1\nprofile: lout\n",
        b_yaml="paging: [a,\n  b\n",
        c_yaml="- a\n",
        d_yaml="paging:\n  route: {receivers: [nobody]}\n",
    )
    codes = [line.split(": ")[:2] for line in told(path)]
    assert codes == [["a.yaml:2:10", "value"], ["b.yaml:1:9", "syntax"], ["c.yaml:1:1", "type"]]
    (path / "b.yaml").unlink()
    (path / "c.yaml").unlink()
    (path / "a.yaml").write_text("version: 1\n")
    assert told(path) == ["d.yaml:2:23: unknown: no receiver 'nobody'"]


def test_what_refers_across_files_is_found(tmp_path: Path) -> None:
    """A receiver of one file serves the route of another, whatever their names' order."""
    path = folder(
        tmp_path,
        a_yaml="paging:\n  route: {receivers: [day, dya]}\n",
        z_yaml="paging:\n  receivers: [{type: log, name: day}]\n",
    )
    assert told(path) == ["a.yaml:2:28: unknown: no receiver 'dya'"]


def test_only_yaml_files_are_read(tmp_path: Path) -> None:
    """Hidden files are nobody's; a name that was probably meant is warned about."""
    path = folder(tmp_path, a_yaml="version: 1\n", b_yml="profile: loud\n", README_md="words")
    (path / ".a.yaml.swp").write_text("garbage: [")
    (path / ".b.yaml").write_text("garbage: [")
    assert load(path)[0] == Settings()
    _, problems = look(path)
    assert [(Path(p.file).name, p.code, p.severity) for p in problems] == [
        ("b.yml", "ignored", Severity.WARNING)
    ]


def test_a_folder_without_a_file_is_told(tmp_path: Path) -> None:
    """An empty folder is a mistake, not a configuration."""
    path = folder(tmp_path)
    assert told(path) == ["conf.d:0:0: empty: the folder has no *.yaml file"]


def test_what_is_no_file_does_not_stop_a_start(tmp_path: Path) -> None:
    """A pipe nobody writes to and a link to nowhere are told; a link to a file is read."""
    path = folder(tmp_path, a_yaml="version: 1\n")
    os.mkfifo(path / "b.yaml")
    (path / "c.yaml").symlink_to(tmp_path / "none")
    (path / "d.yaml").symlink_to(path / ".d")
    (path / ".d").write_text("profile: loud\n")
    assert [line.split(": ")[0] for line in told(path)] == ["b.yaml:0:0", "c.yaml:0:0"]
    (path / "b.yaml").unlink()
    (path / "c.yaml").unlink()
    assert load(path)[0].profile == "loud"


def test_a_pipe_that_is_named_itself_is_read(tmp_path: Path) -> None:
    """What a shell writes as <(...) is a configuration too."""
    reading, writing = os.pipe()
    os.write(writing, b"version: 1\nprofile: page\n")
    os.close(writing)
    try:
        assert load(Path(f"/dev/fd/{reading}"))[0].profile == "page"
    finally:
        os.close(reading)


def test_a_folder_is_bounded(tmp_path: Path) -> None:
    """All files together are as large as one may be, and not too many."""
    path = folder(tmp_path, a_yaml="# " + "x" * 200_000, b_yaml="# " + "x" * 200_000)
    assert "too-large" in {problem.code for problem in read(path).problems}
    for number in range(70):
        (path / f"f{number}.yaml").write_text("version: 1\n")
    assert {problem.code for problem in read(path).problems} == {"too-many"}
