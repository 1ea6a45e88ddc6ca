"""What `kustomize build` makes of our overlays, as far as they use it, to be checked without it.

Resources, components, a namespace, labels without selectors, generated config maps with a digest in
their name, images and JSON patches that add. Anything else in a kustomization is an error here.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]
KEYS = {"apiVersion", "kind", "resources", "components", "namespace", "labels", "images"} | {
    "patches",
    "configMapGenerator",
}
CLUSTER_WIDE = {"Namespace"}


def documents(path: Path) -> list[Document]:
    """The documents of a file."""
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def build(folder: Path) -> list[Document]:
    """What a kustomization brings in the end.

    Raises:
        ValueError: it uses what this does not know, or a patch has nothing to change.
    """
    made = _build(folder)
    names = [(each["kind"], each["metadata"]["name"]) for each in made]
    if len(set(names)) != len(names):
        raise ValueError(f"{folder}: something is there twice")
    return made


def _build(folder: Path, below: list[Document] | None = None) -> list[Document]:
    given = documents(folder / "kustomization.yaml")[0]
    if unknown := set(given) - KEYS:
        raise ValueError(f"{folder}: {unknown}")
    found = list(below or [])
    for name in given.get("resources", []):
        path = folder / name
        found += _build(path) if path.is_dir() else copy.deepcopy(documents(path))
    for name in given.get("components", []):
        found = _build(folder / name, found)
    for patch in given.get("patches", []):
        _patch(found, patch["target"], documents(folder / patch["path"])[0])
    for generator in given.get("configMapGenerator", []):
        found.append(_config_map(folder, generator, found))
    for label in given.get("labels", []):
        if set(label) != {"pairs"}:
            raise ValueError(f"{folder}: labels of pods or selectors")
        for each in found:
            each["metadata"].setdefault("labels", {}).update(label["pairs"])
    for each in found:
        if "namespace" in given and each["kind"] not in CLUSTER_WIDE:
            each["metadata"]["namespace"] = given["namespace"]
    for image in given.get("images", []):
        for container in containers(found):
            if container["image"] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    return found


def pods(found: list[Document]) -> Iterator[Document]:
    """The pods' own part of all workloads."""
    for each in found:
        if "template" in each.get("spec", {}):
            yield each["spec"]["template"]["spec"]


def containers(found: list[Document]) -> Iterator[Document]:
    """All containers of all workloads."""
    for pod in pods(found):
        yield from pod.get("initContainers", [])
        yield from pod["containers"]


def _config_map(folder: Path, generator: Document, found: list[Document]) -> Document:
    data = {name: (folder / name).read_text("utf-8") for name in generator["files"]}
    digest = hashlib.sha256(repr(data).encode()).hexdigest()[:10]
    name = f"{generator['name']}-{digest}"
    for pod in pods(found):
        for volume in pod.get("volumes", []):
            if volume.get("configMap", {}).get("name") == generator["name"]:
                volume["configMap"]["name"] = name
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def _patch(found: list[Document], target: Document, steps: Any) -> None:
    chosen = [
        each
        for each in found
        if (each["kind"], each["metadata"]["name"]) == (target["kind"], target["name"])
    ]
    if len(chosen) != 1:
        raise ValueError(f"a patch for {len(chosen)} of {target}")
    for step in steps:
        if step["op"] != "add":
            raise ValueError(f"a patch that does {step['op']}")
        *way, last = step["path"].removeprefix("/").split("/")
        place: Any = chosen[0]
        for part in way:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if isinstance(place, list):
            place.insert(len(place) if last == "-" else int(last), copy.deepcopy(step["value"]))
        else:
            place[last] = copy.deepcopy(step["value"])
