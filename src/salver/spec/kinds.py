"""The types of resources that Salver knows: groups, versions, names. One table, read by the
parser, the admin API and the command line.
"""

from __future__ import annotations

import msgspec

KSERVE = "serving.kserve.io"
KUBEFLOW = "serving.kubeflow.org"
SALVER = "salver.dev"
SELDON = "machinelearning.seldon.io"
MLOPS = "mlops.seldon.io"
CORE = ""


class ResourceType(msgspec.Struct, frozen=True):
    """One type of resource. `versions` are those served, the first one is preferred.

    `aliases` are (group, version) pairs that are read too, and kept under this type.
    """

    group: str
    versions: tuple[str, ...]
    kind: str
    plural: str
    singular: str
    aliases: tuple[tuple[str, str], ...] = ()
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ("status",)


RESOURCE_TYPES: tuple[ResourceType, ...] = (
    ResourceType(
        KSERVE,
        ("v1beta1", "v1alpha2"),
        "InferenceService",
        "inferenceservices",
        "inferenceservice",
        aliases=((KUBEFLOW, "v1beta1"), (KUBEFLOW, "v1alpha2")),
        short_names=("isvc",),
        categories=("all",),
        subresources=("status", "scale"),
    ),
    ResourceType(KSERVE, ("v1alpha1",), "ServingRuntime", "servingruntimes", "servingruntime"),
    ResourceType(
        KSERVE,
        ("v1alpha1",),
        "ClusterServingRuntime",
        "clusterservingruntimes",
        "clusterservingruntime",
        namespaced=False,
    ),
    ResourceType(
        KSERVE,
        ("v1alpha1", "v1beta1"),
        "TrainedModel",
        "trainedmodels",
        "trainedmodel",
        aliases=((KUBEFLOW, "v1alpha1"), (KUBEFLOW, "v1beta1")),
        short_names=("tm",),
    ),
    ResourceType(
        KSERVE,
        ("v1alpha1",),
        "ClusterStorageContainer",
        "clusterstoragecontainers",
        "clusterstoragecontainer",
        namespaced=False,
    ),
    ResourceType(
        KSERVE,
        ("v1alpha1",),
        "LocalModelCache",
        "localmodelcaches",
        "localmodelcache",
        namespaced=False,
    ),
    ResourceType(
        KSERVE,
        ("v1alpha1",),
        "LocalModelNamespaceCache",
        "localmodelnamespacecaches",
        "localmodelnamespacecache",
    ),
    ResourceType(
        KSERVE,
        ("v1alpha1",),
        "LocalModelNodeGroup",
        "localmodelnodegroups",
        "localmodelnodegroup",
        namespaced=False,
    ),
    ResourceType(
        KSERVE,
        ("v1alpha1",),
        "LocalModelNode",
        "localmodelnodes",
        "localmodelnode",
        namespaced=False,
    ),
    ResourceType(KSERVE, ("v1alpha1",), "Predictor", "predictors", "predictor"),
    ResourceType(
        KSERVE,
        ("v1alpha1",),
        "InferenceGraph",
        "inferencegraphs",
        "inferencegraph",
        short_names=("ig",),
        categories=("all",),
    ),
    ResourceType(
        SELDON,
        ("v1", "v1alpha3", "v1alpha2"),
        "SeldonDeployment",
        "seldondeployments",
        "seldondeployment",
        short_names=("sdep",),
        categories=("all",),
        subresources=("status", "scale"),
    ),
    ResourceType(
        MLOPS, ("v1alpha1",), "Model", "models", "model", short_names=("mlm",), categories=("all",)
    ),
    ResourceType(MLOPS, ("v1alpha1",), "Server", "servers", "server", short_names=("mls",)),
    ResourceType(
        MLOPS,
        ("v1alpha1",),
        "Pipeline",
        "pipelines",
        "pipeline",
        short_names=("mlp",),
        categories=("all",),
    ),
    ResourceType(
        MLOPS,
        ("v1alpha1",),
        "Experiment",
        "experiments",
        "experiment",
        short_names=("mle",),
        categories=("all",),
    ),
    ResourceType(MLOPS, ("v1alpha1",), "ServerConfig", "serverconfigs", "serverconfig"),
    ResourceType(MLOPS, ("v1alpha1",), "SeldonRuntime", "seldonruntimes", "seldonruntime"),
    ResourceType(MLOPS, ("v1alpha1",), "SeldonConfig", "seldonconfigs", "seldonconfig"),
    ResourceType(
        SALVER, ("v1",), "Graph", "graphs", "graph", short_names=("gr",), categories=("all",)
    ),
    ResourceType(SALVER, ("v1",), "Revision", "revisions", "revision", short_names=("rev",)),
    ResourceType(CORE, ("v1",), "Namespace", "namespaces", "namespace", (), ("ns",), False),
    ResourceType(CORE, ("v1",), "Secret", "secrets", "secret", subresources=()),
    ResourceType(
        CORE, ("v1",), "ConfigMap", "configmaps", "configmap", short_names=("cm",), subresources=()
    ),
    ResourceType(
        CORE,
        ("v1",),
        "ServiceAccount",
        "serviceaccounts",
        "serviceaccount",
        short_names=("sa",),
        subresources=(),
    ),
    ResourceType(
        CORE,
        ("v1",),
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        "persistentvolumeclaim",
        short_names=("pvc",),
    ),
    ResourceType(CORE, ("v1",), "Event", "events", "event", short_names=("ev",), subresources=()),
    ResourceType(CORE, ("v1",), "Pod", "pods", "pod", short_names=("po",), categories=("all",)),
)


def resource_type(group: str, version: str, kind: str) -> ResourceType | None:
    """The type of an object's `apiVersion` and `kind`, aliases included."""
    for each in RESOURCE_TYPES:
        is_own = each.group == group and version in each.versions
        if each.kind == kind and (is_own or (group, version) in each.aliases):
            return each
    return None
