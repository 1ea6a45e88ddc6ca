"""The manifests: valid by the published schemas, complete, and with no privilege."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate  # type: ignore[import-untyped] # ships no types
import pytest
import yaml

from monitor.config.settings import load
from monitor.processes.settings import ROLES
from tests.kustomize import build, containers, documents, pods
from tui.cli.run import run

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
VERSIONS = ("1.31", "1.34")
NOT_MANIFESTS = {"tocsin.yaml", "owner.yaml", "networkpolicy-postgres.yaml"}
"""Tocsin's own configurations, and a patch."""
DESK = KUBERNETES / "components" / "desk"
OVERLAYS = ("single", "postgres")
NOT_PUBLISHED = {"Kustomization", "Component", "ServiceMonitor"}
WORKLOADS = {"Deployment", "StatefulSet"}
COMPONENTS = ("desk", "servicemonitor")


def resources(folder: Path) -> Iterator[dict[str, Any]]:
    """What a kustomization brings, without its patches."""
    for name in documents(folder / "kustomization.yaml")[0]["resources"]:
        path = (folder / name).resolve()
        if path.is_dir():
            yield from resources(path)
        else:
            yield from documents(path)


MANIFESTS = [
    pytest.param(document, id=f"{path.parent.name}-{path.stem}-{i}")
    for path in sorted(KUBERNETES.rglob("*.yaml"))
    for i, document in enumerate(documents(path))
    if path.name not in NOT_MANIFESTS
    and path != DESK / "control.yaml"
    and document["kind"] not in NOT_PUBLISHED
]
PODS = [
    pytest.param(document, id=f"{overlay}-{document['metadata']['name']}")
    for overlay in OVERLAYS
    for document in resources(KUBERNETES / "overlays" / overlay)
    if document["kind"] in WORKLOADS
]
JOBS = [
    pytest.param(document, id=document["metadata"]["name"])
    for document in resources(KUBERNETES / "overlays" / "postgres")
    if document["kind"] == "Job"
]
Merged = Callable[..., list[dict[str, Any]]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", MANIFESTS)
def test_a_manifest_is_valid(document: dict[str, Any], version: str) -> None:
    """Each document passes the published schema of its kind, without an unknown field."""
    kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("path", sorted(KUBERNETES.rglob("kustomization.yaml")), ids=str)
def test_a_kustomization_names_what_is_there(path: Path) -> None:
    """Resources, patches and files of generators exist, and a patch has something to change."""
    given = documents(path)[0]
    for name in given.get("resources", []):
        place = path.parent / name
        assert (place / "kustomization.yaml").is_file() if place.is_dir() else place.is_file(), name
    for generator in given.get("configMapGenerator", []):
        assert all((path.parent / name).is_file() for name in generator["files"])
    overlay = path.parent if given["kind"] == "Kustomization" else KUBERNETES / "overlays/postgres"
    kinds = {(r["kind"], r["metadata"]["name"]) for r in resources(overlay)}
    for patch in given.get("patches", []):
        assert (path.parent / patch["path"]).is_file()
        assert (patch["target"]["kind"], patch["target"]["name"]) in kinds


@pytest.fixture
def merged(tmp_path: Path) -> Merged:
    """Makes what an overlay comes to, with components if wanted."""

    def make(overlay: str, *components: str) -> list[dict[str, Any]]:
        shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
        folder = tmp_path / "kubernetes" / "overlays" / overlay
        added = [f"../../components/{name}" for name in components]
        with (folder / "kustomization.yaml").open("a") as file:
            file.write(f"components: {json.dumps(added)}\n")
        return build(folder)

    return make


@pytest.mark.parametrize(
    ("overlay", "components"), [("single", ()), ("postgres", ()), ("postgres", COMPONENTS)]
)
def test_what_an_overlay_comes_to_is_valid(
    overlay: str, components: tuple[str, ...], merged: Merged
) -> None:
    """Patched and merged, each document passes its schema, and what it refers to is there."""
    found = merged(overlay, *components)
    for document in found:
        if document["kind"] not in NOT_PUBLISHED:
            for version in VERSIONS:
                kubernetes_validate.validate(document, version, strict=True)
    assert {d["metadata"].get("namespace", "tocsin") for d in found} == {"tocsin"}
    maps = {d["metadata"]["name"] for d in found if d["kind"] == "ConfigMap"}
    accounts = {d["metadata"]["name"] for d in found if d["kind"] == "ServiceAccount"}
    used = set()
    for pod in pods(found):
        assert pod["serviceAccountName"] in accounts
        used |= {v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v}
    assert used == maps
    for container in containers(found):
        assert container["image"].startswith("registry.example.com/tocsin:")
        ports = [port["name"] for port in container.get("ports", [])]
        assert len(set(ports)) == len(ports)


def test_the_patches_are_in_what_an_overlay_comes_to(merged: Merged) -> None:
    """PostgreSQL's port is open to the daemon, the desk's port and certificate are in its pods."""
    found = {(d["kind"], d["metadata"]["name"]): d for d in merged("postgres", *COMPONENTS)}
    out = found["NetworkPolicy", "tocsin"]["spec"]["egress"]
    assert {5432, 9093, 443} <= {port["port"] for rule in out for port in rule["ports"]}
    control = found["Deployment", "tocsin-control"]["spec"]["template"]["spec"]
    assert {port["containerPort"] for port in control["containers"][0]["ports"]} == {9464, 9465}
    assert "tocsin-desk-tls" in json.dumps(control["volumes"])
    ingest = found["Deployment", "tocsin-ingest"]["spec"]["template"]["spec"]
    assert "tocsin-desk-tls" not in json.dumps(ingest)


def test_only_the_job_is_the_owner() -> None:
    """It makes schema, then rights, with a secret that no daemon has; that has the least role."""
    folder = KUBERNETES / "overlays" / "postgres"
    found = list(resources(folder))
    (job,) = (d["spec"]["template"]["spec"] for d in found if d["kind"] == "Job")
    for pod in (d["spec"]["template"]["spec"] for d in found if d["kind"] in WORKLOADS):
        assert "owner" not in json.dumps(pod)
    done = [c["args"] for c in (*job["initContainers"], *job["containers"])]
    owner = ["-c", "/etc/tocsin/owner.yaml", "store"]
    assert done == [[*owner, "migrate"], [*owner, "roles", "--apply"]]
    stores = {name: str(load(folder / f"{name}.yaml")[0].store) for name in ("owner", "tocsin")}
    for name, role, mount in (("owner", "owner", "tocsin-owner"), ("tocsin", "daemon", "tocsin")):
        url = urlsplit(stores[name])
        assert url.username == f"tocsin_{role}"
        assert parse_qs(url.query) == {
            "sslmode": ["verify-full"],
            "sslrootcert": [f"/run/secrets/{mount}/postgres-ca"],
        }
    assert "--from-file=postgres-ca=FILE" in (folder / "owner.yaml").read_text("utf-8")
    assert job["volumes"][1]["secret"]["secretName"] == "tocsin-owner"


@pytest.mark.parametrize("document", [*PODS, *JOBS])
def test_a_pod_has_no_privileges(document: dict[str, Any]) -> None:
    """No root, no writable root, no capability, the runtime's seccomp profile, no API token."""
    pod = document["spec"]["template"]["spec"]
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] >= 10000
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in (*pod.get("initContainers", []), *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"]["cpu"]
        if document["kind"] in WORKLOADS:
            probes = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in PROBES}
            assert probes == PROBES
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        claims = {c["metadata"]["name"] for c in document["spec"].get("volumeClaimTemplates", [])}
        assert mounted == {volume["name"] for volume in pod["volumes"]} | claims


PROBES = {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


@pytest.mark.parametrize("document", PODS)
def test_a_pod_is_started_with_flags_that_there_are(document: dict[str, Any]) -> None:
    """The arguments are those of `tocsin run`, and the roles are roles."""
    arguments = document["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments[0] == "run"
    with run.make_context("run", arguments[1:]) as context:
        assert context.params["source"] is None  # the configuration says it
    if "--roles" in arguments:
        roles = arguments[arguments.index("--roles") + 1].split(",")
        assert set(roles) <= set(ROLES)


def test_the_roles_of_the_pods_are_all_roles() -> None:
    """With PostgreSQL, control and ingest together do everything, each job once."""
    shared: list[str] = []
    for document in resources(KUBERNETES / "overlays" / "postgres"):
        if document["kind"] == "Deployment":
            arguments = document["spec"]["template"]["spec"]["containers"][0]["args"]
            shared += arguments[arguments.index("--roles") + 1].split(",")
    assert sorted(shared) == sorted(ROLES)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_find_their_pods(overlay: str) -> None:
    """Service, network policy, budgets and workloads mean the same pods."""
    found = list(resources(KUBERNETES / "overlays" / overlay))
    kinds = WORKLOADS | {"Job"}
    labels = [d["spec"]["template"]["metadata"]["labels"] for d in found if d["kind"] in kinds]
    wanted = {
        "Service": lambda spec: spec["selector"],
        "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
        "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
        "Deployment": lambda spec: spec["selector"]["matchLabels"],
        "StatefulSet": lambda spec: spec["selector"]["matchLabels"],
    }
    for document in found:
        if (select := wanted.get(document["kind"])) is not None:
            chosen = select(document["spec"]).items()
            assert any(chosen <= own.items() for own in labels), document["metadata"]["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_are_named_and_not_included(overlay: str) -> None:
    """No Secret lies here, and each file that the configuration reads is mounted where it looks."""
    found = list(resources(KUBERNETES / "overlays" / overlay))
    assert not [document for document in found if document["kind"] == "Secret"]
    settings, _ = load(KUBERNETES / "overlays" / overlay / "tocsin.yaml")
    text = (KUBERNETES / "overlays" / overlay / "tocsin.yaml").read_text("utf-8")
    named = re.findall(r"(?:file: |sslrootcert=|ssl_cafile: )(/[\w/-]+)", text)
    assert {Path(path).name for path in named} >= {"pagerduty", "heartbeat", "kafka", "kafka-ca"}
    for path in named:
        assert path.startswith("/run/secrets/tocsin/")
        assert f"--from-file={Path(path).name}=FILE" in text
    assert settings.http == "0.0.0.0:9464"
    assert settings.watch.heartbeat is not None


def test_a_pod_that_never_becomes_ready_is_replaced() -> None:
    """A StatefulSet in order would wait for the bad pod before it brings the good one."""
    found = resources(KUBERNETES / "overlays" / "single")
    (single,) = (document for document in found if document["kind"] == "StatefulSet")
    assert single["spec"]["podManagementPolicy"] == "Parallel"


def test_the_desk_reaches_its_pods(tmp_path: Path) -> None:
    """Port, mount and secret of the component are those that its head tells Tocsin to use."""
    patches = (DESK / "control.yaml").read_text("utf-8")
    ports, mounts, volumes = (patch["value"] for patch in yaml.safe_load(patches))
    service = documents(DESK / "service.yaml")[0]["spec"]
    policy = documents(DESK / "networkpolicy.yaml")[0]["spec"]
    assert service["ports"][0]["targetPort"] == ports["name"]
    assert service["publishNotReadyAddresses"] is True, "people need it when something is wrong"
    assert mounts["name"] == volumes["name"]
    control = documents(KUBERNETES / "overlays" / "postgres" / "control.yaml")[0]["spec"][
        "template"
    ]
    for wanted in (service["selector"], policy["podSelector"]["matchLabels"]):
        assert wanted.items() <= control["metadata"]["labels"].items()
    head = (DESK / "kustomization.yaml").read_text("utf-8").split("apiVersion")[0]
    lines = [line[4:] for line in head.splitlines() if line.startswith("#   ")]
    path = tmp_path / "tocsin.yaml"
    path.write_text("\n".join(lines))
    tls = load(path)[0].desk.tls
    assert tls is not None
    assert tls.listen == f"0.0.0.0:{ports['containerPort']}"
    assert {tls.certificate.parent, tls.key.parent} == {Path(mounts["mountPath"])}
    assert policy["ingress"][0]["ports"][0]["port"] == ports["containerPort"]


def test_the_readiness_of_a_pod_does_not_hide_it_from_prometheus() -> None:
    """A daemon that is not ready is scraped all the same: it is the one to look at."""
    service = documents(KUBERNETES / "base" / "service.yaml")[0]
    assert service["metadata"]["name"] == "tocsin"
    assert service["spec"]["publishNotReadyAddresses"] is True
    monitor = documents(KUBERNETES / "components" / "servicemonitor" / "servicemonitor.yaml")[0]
    ports = {port["name"] for port in service["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports
    labels = service["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
