"""From a YAML file to a checked `Runbook`, or to every problem at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

import msgspec

from runbooks.checks import Scope, StepCheck, param_problems, secret_problems
from runbooks.convert import build, check, json_schema
from runbooks.document import Document
from runbooks.model import Runbook, Secret, Spec, Step
from runbooks.params import AnyParam
from runbooks.problems import Problem, Problems
from runbooks.yaml import load_yaml


def load_runbook(source: str | bytes, file: str) -> Runbook:
    """Read and check one runbook.

    Args:
        source: the file's content.
        file: the name that problems carry.

    Raises:
        Problems: everything wrong with it, in the order of the file.
    """
    return load_with_places(source, file)[0]


def load_with_places(source: str | bytes, file: str) -> tuple[Runbook, Document]:
    """The same, with the places that `lint.check` needs.

    Raises:
        Problems: everything wrong with it, in the order of the file.
    """
    raw = source if isinstance(source, bytes) else source.encode("utf-8", "surrogatepass")
    document = load_yaml(source, file)
    found = check(document, Spec) + _semantic(document)
    if found:
        raise Problems(found)
    spec = build(document.data, Spec)
    return Runbook(spec, hashlib.sha256(raw).hexdigest(), file), document


def _semantic(document: Document) -> list[Problem]:
    root = document.data
    if not isinstance(root, dict):
        return []
    scope = Scope.of(root)
    found: list[Problem] = []
    for name, raw in scope.params.items():
        param: AnyParam | None = _built(raw, AnyParam)
        if param is not None:
            found += param_problems(document, ("params", name), param)
    for name, raw in scope.secrets.items():
        secret = _built(raw, Secret)
        if secret is not None:
            found += secret_problems(document, ("secrets", name), secret)
    steps = root.get("steps")
    for index, raw in enumerate(steps if isinstance(steps, list) else []):
        step: Step | None = _built(raw, Step)
        if step is not None:
            found += StepCheck(document, scope, step, ("steps", index)).run()
        scope.add(raw)
    return found


def _built(raw: object, kind: Any) -> Any:
    """The value when its shape is right; its wrong shape is reported elsewhere."""
    try:
        return build(raw, kind)
    except msgspec.ValidationError:
        return None


def library() -> tuple[Runbook, ...]:
    """The shipped runbooks, by id.

    Raises:
        Problems: a shipped file is broken.
    """
    folder = resources.files("runbooks") / "library"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    return tuple(load_runbook(file.read_bytes(), f"library/{file.name}") for file in files)


def match(runbooks: Iterable[Runbook], labels: Mapping[str, str]) -> list[Runbook]:
    """The runbooks that fit an alert's or incident's labels, the most specific first."""
    fitting = [(runbook.matches(labels), runbook) for runbook in runbooks]
    return [r for n, r in sorted(fitting, key=lambda pair: (-pair[0], pair[1].id)) if n > 0]


def schema() -> dict[str, Any]:
    """The JSON Schema of a runbook file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tocsin runbook/v1",
        **json_schema(Spec),
    }
