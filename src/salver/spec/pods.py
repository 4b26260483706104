"""Kubernetes' PodSpec and Container, as far as inference resources embed them.

Every field name of core/v1 is known. Those that nobody on this machine reads are typed
loosely and marked inert.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from salver.spec.fields import Fields, about

Quantity = Annotated[str, about("a Kubernetes quantity, such as 500m or 2Gi", format="quantity")]


class KeySelector(Fields, frozen=True):
    """One key of a Secret or ConfigMap."""

    key: Annotated[str, about("which key")]
    name: Annotated[str, about("name of the Secret or ConfigMap")] = ""
    optional: Annotated[bool, about("whether it may be absent")] = False


class FieldSelector(Fields, frozen=True):
    """One field of the pod."""

    field_path: Annotated[str, about("which field, e.g. metadata.name")]
    api_version: Annotated[str, about("version of the pod's type", inert=True)] = ""


class EnvVarSource(Fields, frozen=True):
    """Where an environment variable's value comes from."""

    secret_key_ref: Annotated[KeySelector | None, about("a key of a Secret")] = None
    config_map_key_ref: Annotated[KeySelector | None, about("a key of a ConfigMap")] = None
    field_ref: Annotated[FieldSelector | None, about("a field of the pod")] = None
    resource_field_ref: Annotated[Any, about("a resource limit", inert=True)] = None
    file_key_ref: Annotated[Any, about("a key of a file in a volume", inert=True)] = None


class EnvVar(Fields, frozen=True):
    """An environment variable: a name, and a value or where it comes from."""

    name: Annotated[str, about("name of the variable")]
    value: Annotated[str, about("its value; `$(OTHER)` is replaced by another variable")] = ""
    value_from: Annotated[EnvVarSource | None, about("where the value comes from")] = None


class SourceRef(Fields, frozen=True):
    """A whole Secret or ConfigMap."""

    name: Annotated[str, about("its name")] = ""
    optional: Annotated[bool, about("whether it may be absent")] = False


class EnvFromSource(Fields, frozen=True):
    """All keys of a Secret or ConfigMap as environment variables."""

    prefix: Annotated[str, about("put before each variable's name")] = ""
    secret_ref: Annotated[SourceRef | None, about("the Secret")] = None
    config_map_ref: Annotated[SourceRef | None, about("the ConfigMap")] = None


class ContainerPort(Fields, frozen=True):
    """A port on which a container listens."""

    container_port: Annotated[int, about("the port's number", least=1, most=65535)]
    name: Annotated[
        str, about("`h2c` says that the port speaks gRPC, `http1` that it does not")
    ] = ""
    protocol: Annotated[Literal["TCP", "UDP", "SCTP"], about("TCP unless told")] = "TCP"
    host_port: Annotated[int | None, about("port on the node", inert=True)] = None
    host_ip: Annotated[str, about("address on the node", inert=True)] = msgspec.field(
        default="", name="hostIP"
    )


class HttpGet(Fields, frozen=True):
    """An HTTP request that tells whether a container is well."""

    path: Annotated[str, about("path of the request")] = "/"
    port: Annotated[int | str, about("number or name of the port")] = 0
    host: Annotated[str, about("host to ask, the pod unless told", inert=True)] = ""
    scheme: Annotated[Literal["HTTP", "HTTPS"], about("HTTP unless told", inert=True)] = "HTTP"
    http_headers: Annotated[Any, about("headers of the request", inert=True)] = None


class Probe(Fields, frozen=True):
    """How to tell whether a container is well."""

    http_get: Annotated[HttpGet | None, about("by an HTTP request")] = None
    tcp_socket: Annotated[Any, about("by opening a connection")] = None
    grpc: Annotated[Any, about("by gRPC's health service", inert=True)] = None
    exec: Annotated[Any, about("by a command", inert=True)] = None
    initial_delay_seconds: Annotated[int, about("wait before the first one", least=0)] = 0
    period_seconds: Annotated[int, about("time between two", least=0)] = 10
    timeout_seconds: Annotated[int, about("time one may take", least=0)] = 1
    success_threshold: Annotated[int, about("successes in a row that count", least=0)] = 1
    failure_threshold: Annotated[int, about("failures in a row that count", least=0)] = 3
    termination_grace_period_seconds: Annotated[
        int | None, about("time to stop after a failure", inert=True)
    ] = None


class ResourceRequirements(Fields, frozen=True):
    """What a container may take (`limits`) and is sure to get (`requests`)."""

    limits: Annotated[dict[str, Quantity], about("the most of cpu, memory and so on")] = {}
    requests: Annotated[
        dict[str, Quantity], about("what is set aside; cpu is the base of cpu autoscaling")
    ] = {}
    claims: Annotated[Any, about("devices claimed for the pod", inert=True)] = None


class VolumeMount(Fields, frozen=True):
    """Where a container sees a volume."""

    name: Annotated[str, about("name of the volume")]
    mount_path: Annotated[str, about("path in the container")]
    sub_path: Annotated[str, about("folder of the volume that is mounted")] = ""
    read_only: Annotated[bool, about("whether it cannot be written to")] = False
    sub_path_expr: Annotated[str, about("subPath with variables", inert=True)] = ""
    mount_propagation: Annotated[str, about("how mounts are passed on", inert=True)] = ""
    recursive_read_only: Annotated[str, about("readOnly for mounts within", inert=True)] = ""


class Container(Fields, frozen=True):
    """A program: its image, or the command that stands for it on this machine."""

    name: Annotated[str, about("name of the container; `kserve-container` is the main one")] = ""
    image: Annotated[str, about("the image to run; a known server's image runs as a local one")] = (
        ""
    )
    command: Annotated[
        tuple[str, ...], about("what to run; on this machine it runs without the image")
    ] = ()
    args: Annotated[tuple[str, ...], about("arguments after the command")] = ()
    working_dir: Annotated[str, about("folder to run in")] = ""
    env: Annotated[tuple[EnvVar, ...], about("environment variables")] = ()
    env_from: Annotated[
        tuple[EnvFromSource, ...], about("Secrets and ConfigMaps as environment variables")
    ] = ()
    ports: Annotated[
        tuple[ContainerPort, ...], about("where it listens; the variable PORT carries the first")
    ] = ()
    resources: Annotated[
        ResourceRequirements | None, about("memory and processor time it may take")
    ] = None
    volume_mounts: Annotated[tuple[VolumeMount, ...], about("volumes it sees, and where")] = ()
    readiness_probe: Annotated[
        Probe | None, about("when it may get requests; only the path of httpGet is used")
    ] = None
    liveness_probe: Annotated[Probe | None, about("when it is to be restarted", inert=True)] = None
    startup_probe: Annotated[Probe | None, about("when it has started", inert=True)] = None
    lifecycle: Annotated[Any, about("hooks at start and stop", inert=True)] = None
    security_context: Annotated[Any, about("user and privileges", inert=True)] = None
    image_pull_policy: Annotated[
        Literal["", "Always", "IfNotPresent", "Never"], about("when to pull the image", inert=True)
    ] = ""
    resize_policy: Annotated[Any, about("how resources may change", inert=True)] = None
    restart_policy: Annotated[str, about("when it is restarted", inert=True)] = ""
    restart_policy_rules: Annotated[Any, about("restarts by exit code", inert=True)] = None
    volume_devices: Annotated[Any, about("block devices", inert=True)] = None
    termination_message_path: Annotated[str, about("file of last words", inert=True)] = ""
    termination_message_policy: Annotated[str, about("where last words are", inert=True)] = ""
    stdin: Annotated[bool, about("whether it has an input", inert=True)] = False
    stdin_once: Annotated[bool, about("whether the input is closed once", inert=True)] = False
    tty: Annotated[bool, about("whether it has a terminal", inert=True)] = False


class ClaimVolume(Fields, frozen=True):
    """A PersistentVolumeClaim as a volume."""

    claim_name: Annotated[str, about("name of the claim")]
    read_only: Annotated[bool, about("whether it cannot be written to")] = False


class HostPathVolume(Fields, frozen=True):
    """A folder of the machine as a volume."""

    path: Annotated[str, about("the folder")]
    type: Annotated[str, about("what must be there", inert=True)] = ""


class Volume(Fields, frozen=True):
    """Files that containers of the pod can see. Other sources than these are not used."""

    name: Annotated[str, about("name of the volume")]
    persistent_volume_claim: Annotated[ClaimVolume | None, about("a claim")] = None
    host_path: Annotated[HostPathVolume | None, about("a folder of the machine")] = None
    empty_dir: Annotated[Any, about("an empty folder", inert=True)] = None
    secret: Annotated[Any, about("a Secret, one file a key", inert=True)] = None
    config_map: Annotated[Any, about("a ConfigMap, one file a key", inert=True)] = None
    downward_api: Annotated[Any, about("fields of the pod", inert=True)] = msgspec.field(
        default=None, name="downwardAPI"
    )
    projected: Annotated[Any, about("several sources in one", inert=True)] = None
    csi: Annotated[Any, about("a driver's volume", inert=True)] = None
    ephemeral: Annotated[Any, about("a claim that goes with the pod", inert=True)] = None
    image: Annotated[Any, about("an image's files", inert=True)] = None
    nfs: Annotated[Any, about("a network folder", inert=True)] = None
    iscsi: Annotated[Any, about("a network disk", inert=True)] = None
    fc: Annotated[Any, about("a fibre channel disk", inert=True)] = None
    git_repo: Annotated[Any, about("a git repository", inert=True)] = None
    flex_volume: Annotated[Any, about("a plug-in's volume", inert=True)] = None
    azure_file: Annotated[Any, about("an Azure share", inert=True)] = None
    azure_disk: Annotated[Any, about("an Azure disk", inert=True)] = None
    aws_elastic_block_store: Annotated[Any, about("an AWS disk", inert=True)] = msgspec.field(
        default=None, name="awsElasticBlockStore"
    )
    gce_persistent_disk: Annotated[Any, about("a Google disk", inert=True)] = None
    cephfs: Annotated[Any, about("a Ceph folder", inert=True)] = None
    rbd: Annotated[Any, about("a Ceph disk", inert=True)] = None
    glusterfs: Annotated[Any, about("a Gluster folder", inert=True)] = None
    cinder: Annotated[Any, about("an OpenStack disk", inert=True)] = None
    vsphere_volume: Annotated[Any, about("a vSphere disk", inert=True)] = None
    quobyte: Annotated[Any, about("a Quobyte folder", inert=True)] = None
    portworx_volume: Annotated[Any, about("a Portworx disk", inert=True)] = None
    scale_io: Annotated[Any, about("a ScaleIO disk", inert=True)] = msgspec.field(
        default=None, name="scaleIO"
    )
    storageos: Annotated[Any, about("a StorageOS disk", inert=True)] = None
    flocker: Annotated[Any, about("a Flocker disk", inert=True)] = None
    photon_persistent_disk: Annotated[Any, about("a Photon disk", inert=True)] = None


class PodSpec(Fields, frozen=True):
    """Where and how containers run. Scheduling has no meaning on one machine."""

    containers: Annotated[
        tuple[Container, ...],
        about("the programs; the one named `kserve-container`, else the first, is asked"),
    ] = ()
    volumes: Annotated[tuple[Volume, ...], about("files that containers can see")] = ()
    service_account_name: Annotated[
        str, about("the ServiceAccount whose Secrets are the credentials for storage")
    ] = ""
    service_account: Annotated[str, about("former name of serviceAccountName")] = ""
    image_pull_secrets: Annotated[Any, about("credentials for images", inert=True)] = None
    init_containers: Annotated[
        tuple[Container, ...], about("programs that run before the others", inert=True)
    ] = ()
    ephemeral_containers: Annotated[Any, about("programs for debugging", inert=True)] = None
    restart_policy: Annotated[str, about("when containers are restarted", inert=True)] = ""
    termination_grace_period_seconds: Annotated[
        int | None, about("time to finish requests when stopped", least=0, inert=True)
    ] = None
    active_deadline_seconds: Annotated[int | None, about("longest life", inert=True)] = None
    dns_policy: Annotated[str, about("how names are resolved", inert=True)] = ""
    dns_config: Annotated[Any, about("how names are resolved", inert=True)] = None
    node_selector: Annotated[dict[str, str], about("labels of the node", inert=True)] = {}
    node_name: Annotated[str, about("the node", inert=True)] = ""
    automount_service_account_token: Annotated[
        bool | None, about("whether the account's token is mounted", inert=True)
    ] = None
    host_network: Annotated[bool, about("whether it has the node's network", inert=True)] = False
    host_pid: Annotated[bool, about("whether it sees the node's processes", inert=True)] = (
        msgspec.field(default=False, name="hostPID")
    )
    host_ipc: Annotated[bool, about("whether it shares the node's memory", inert=True)] = (
        msgspec.field(default=False, name="hostIPC")
    )
    host_users: Annotated[bool | None, about("whether users are the node's", inert=True)] = None
    host_aliases: Annotated[Any, about("lines of /etc/hosts", inert=True)] = None
    hostname: Annotated[str, about("name of the pod's host", inert=True)] = ""
    hostname_override: Annotated[str, about("full name of the pod's host", inert=True)] = ""
    subdomain: Annotated[str, about("domain of the pod's host", inert=True)] = ""
    set_hostname_as_fqdn: Annotated[
        bool | None, about("whether the host's name is the full one", inert=True)
    ] = msgspec.field(default=None, name="setHostnameAsFQDN")
    share_process_namespace: Annotated[
        bool | None, about("whether containers see each other's processes", inert=True)
    ] = None
    security_context: Annotated[Any, about("user and privileges", inert=True)] = None
    affinity: Annotated[Any, about("rules for choosing the node", inert=True)] = None
    tolerations: Annotated[Any, about("taints of nodes that are tolerated", inert=True)] = None
    topology_spread_constraints: Annotated[
        Any, about("how replicas are spread over nodes", inert=True)
    ] = None
    scheduler_name: Annotated[str, about("who chooses the node", inert=True)] = ""
    scheduling_gates: Annotated[Any, about("what must be open first", inert=True)] = None
    priority_class_name: Annotated[str, about("importance of the pod", inert=True)] = ""
    priority: Annotated[int | None, about("importance of the pod", inert=True)] = None
    preemption_policy: Annotated[str, about("whether it may evict others", inert=True)] = ""
    readiness_gates: Annotated[Any, about("conditions for being ready", inert=True)] = None
    runtime_class_name: Annotated[str, about("what runs the containers", inert=True)] = ""
    enable_service_links: Annotated[
        bool | None, about("whether services are in the environment", inert=True)
    ] = None
    overhead: Annotated[Any, about("resources beyond the containers'", inert=True)] = None
    os: Annotated[Any, about("the node's operating system", inert=True)] = None
    resource_claims: Annotated[Any, about("devices for the pod", inert=True)] = None
    resources: Annotated[Any, about("resources of the whole pod", inert=True)] = None
    workload_ref: Annotated[Any, about("the workload it is part of", inert=True)] = None
