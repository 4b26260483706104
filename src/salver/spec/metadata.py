"""The metadata that every resource carries: Kubernetes' ObjectMeta."""

from __future__ import annotations

from typing import Annotated, Any

from salver.spec.fields import Fields, about


class OwnerReference(Fields, frozen=True):
    """Another object that this one belongs to; it is deleted with it."""

    api_version: Annotated[str, about("apiVersion of the owner")] = ""
    kind: Annotated[str, about("kind of the owner")] = ""
    name: Annotated[str, about("name of the owner")] = ""
    uid: Annotated[str, about("uid of the owner")] = ""
    controller: Annotated[bool, about("whether the owner is the managing controller")] = False
    block_owner_deletion: Annotated[
        bool, about("whether the owner may only go after this object", inert=True)
    ] = False


class ObjectMeta(Fields, frozen=True):
    """Name, namespace, labels and annotations, and what the server keeps about an object."""

    name: Annotated[str, about("the object's name: a DNS label, unique in its namespace")] = ""
    generate_name: Annotated[
        str, about("prefix of a name that the server makes up if `name` is absent")
    ] = ""
    namespace: Annotated[
        str, about("the namespace the object is in; without one, the command's or `default`")
    ] = ""
    labels: Annotated[dict[str, str], about("texts by which objects are selected")] = {}
    annotations: Annotated[
        dict[str, str], about("texts that tools and the server read, e.g. for autoscaling")
    ] = {}
    uid: Annotated[str, about("set by the server: tells apart objects of one name over time")] = ""
    resource_version: Annotated[
        str, about("set by the server on every change; sent back, it detects conflicts")
    ] = ""
    generation: Annotated[int, about("set by the server: counts changes of the spec")] = 0
    creation_timestamp: Annotated[str | None, about("set by the server: when it was made")] = None
    deletion_timestamp: Annotated[
        str | None, about("set by the server: when it was asked to go")
    ] = None
    deletion_grace_period_seconds: Annotated[
        int | None, about("set by the server: time left for the deletion")
    ] = None
    finalizers: Annotated[
        tuple[str, ...], about("who must agree before the object may go", inert=True)
    ] = ()
    owner_references: Annotated[
        tuple[OwnerReference, ...], about("objects this one belongs to and goes with")
    ] = ()
    managed_fields: Annotated[Any, about("set by the server: which client set which field")] = None
    self_link: Annotated[str, about("an address of the object; no longer used", inert=True)] = ""
