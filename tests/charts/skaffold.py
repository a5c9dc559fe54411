"""A strict schema of the part of skaffold's configuration that skaffold.yaml uses.

Skaffold's own schema is ten times as long as what it describes here. Names, types and what is required follow its
definition of v4beta13 (skaffold at commit 359a940). Who uses a further field looks it up there and adds it here.
"""

from __future__ import annotations

from tests.charts.shapes import ANY, FLAG, NUMBER, TEXT, TEXTS, listed, one_of, record

DOCKER = record({"dockerfile": TEXT, "buildArgs": TEXTS, "target": TEXT})
SYNC = record({"manual": listed(record({"src": TEXT, "strip": TEXT, "dest": TEXT}, "src dest"))})
ARTIFACT = record({"image": TEXT, "context": TEXT, "docker": DOCKER, "sync": SYNC}, "image")
LOCAL = record({"useBuildkit": FLAG, "concurrency": NUMBER, "push": FLAG})
BUILD = record(
    {
        "local": LOCAL,
        "tagPolicy": record({"inputDigest": record({})}),
        "artifacts": listed(ARTIFACT),
    }
)
RELEASE = record(
    {
        "name": TEXT,
        "chartPath": TEXT,
        "skipBuildDependencies": FLAG,
        "namespace": TEXT,
        "createNamespace": FLAG,
        "wait": FLAG,
        "valuesFiles": listed(TEXT),
        "setValues": TEXTS,
        "setValueTemplates": TEXTS,
    },
    "name",
)
DEPLOY = record({"helm": record({"releases": listed(RELEASE)}), "kubectl": record({})})
MANIFESTS = record({"rawYaml": listed(TEXT)})
SELECTOR = record({"allow": listed(record({"groupKind": TEXT, "image": listed(TEXT)}, "groupKind"))})
FORWARD = record(
    {"resourceType": TEXT, "resourceName": TEXT, "namespace": TEXT, "port": NUMBER, "localPort": NUMBER},
)
PATCH = record({"op": one_of("add remove replace move copy test"), "path": TEXT, "value": ANY}, "path")
PROFILE = record(
    {
        "name": TEXT,
        "activation": listed(record({"command": TEXT, "kubeContext": TEXT})),
        "patches": listed(PATCH),
        "manifests": MANIFESTS,
        "resourceSelector": SELECTOR,
        "deploy": DEPLOY,
        "portForward": listed(FORWARD),
    },
    "name",
)
CONFIG = record(
    {
        "apiVersion": one_of("skaffold/v4beta13"),
        "kind": one_of("Config"),
        "metadata": record({"name": TEXT}),
        "build": BUILD,
        "manifests": MANIFESTS,
        "resourceSelector": SELECTOR,
        "deploy": DEPLOY,
        "portForward": listed(FORWARD),
        "profiles": listed(PROFILE),
    },
    "apiVersion kind",
)
