"""What this server does not have yet: artifacts, registries, agents of sweeps, launch, automations.

Their types stand in the schema, so that every document of a client validates, and each field by
which one gets there raises one error at once, which names the field. A few that clients ask about
whatever they do answer that there is nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ariadne import MutationType, ObjectType, QueryType, UnionType

from asyncwb.server.graphql.execution.context import Info
from asyncwb.server.http.errors import ApiError

NOT_YET: Final[dict[str, tuple[str, ...]]] = {
    "Query": ("artifact", "artifactCollection", "clientIDMapping", "launchAgent"),
    "Mutation": (
        *("addAliases", "commitArtifact", "completeMultipartUploadArtifact", "createArtifact"),
        *("createArtifactCollectionTagAssignments", "createArtifactFiles"),
        *("createArtifactManifest", "createArtifactType", "createProjectMembers"),
        *("deleteAliases", "deleteArtifact", "deleteArtifactCollectionTagAssignments"),
        *("deleteArtifactPortfolio", "deleteArtifactSequence", "deleteProjectMembers"),
        *("linkArtifact", "moveArtifactSequence", "unlinkArtifact", "updateArtifact"),
        *("updateArtifactManifest", "updateArtifactPortfolio", "updateArtifactSequence"),
        *("updateProjectMember", "updateProjectTeamMember", "useArtifact"),
        *("agentHeartbeat", "createAgent", "enqueueSweepRun"),
        *("ackRunQueueItem", "createDefaultResourceConfig", "createLaunchAgent"),
        *("createRunQueue", "deleteFromRunQueue", "deleteRunQueues", "failRunQueueItem"),
        *("popFromRunQueue", "pushToRunQueue", "pushToRunQueueByName", "updateLaunchAgent"),
        *("updateRunQueueItemWarning", "upsertRunQueue"),
        *("createFilterTrigger", "createGenericWebhookIntegration", "deleteTrigger"),
        *("updateFilterTrigger", "createCustomChart"),
        *("createAccessToken", "revokeAccessToken", "updateAccessTokenProjects"),
    ),
    "Project": (
        *("artifact", "artifactCollection", "artifactCollectionMembership"),
        *("artifactCollections", "artifactType", "artifactTypes", "members", "teamMembers"),
        *("runQueue", "runQueues", "triggers"),
    ),
    "Entity": (
        *("artifactCollections", "artifactMemberships", "defaultResourceConfig"),
        *("integrations", "triggers"),
    ),
    "Run": ("inputArtifacts", "outputArtifacts"),
    "Sweep": ("agent", "agents"),
}
"""by type: the fields that raise"""

EMPTY: Final[dict[str, dict[str, object]]] = {
    "Entity": {"organization": None, "xxhashDigestsEnabled": False},
    "File": {"artifact": None},
    "Query": {"organization": None},
    "User": {"organizations": []},
    "View": {"accessTokens": []},
}
"""by type: the fields that always answer the same, because there is nothing"""

UNIONS: Final = (
    *("ArtifactCreator", "Integration", "TriggerScope", "TriggeredAction", "TriggeringCondition"),
)


def _refuse(_: object, info: Info, **_arguments: object) -> None:
    raise ApiError(
        501,
        "not_yet",
        f"This server does not have {info.parent_type.name}.{info.field_name} yet. Nothing was "
        "done; metrics, files and everything else of the run are not affected.",
    )


def _answering(value: object) -> Callable[..., object]:
    def answer(_: object, _info: Info, **_arguments: object) -> object:
        return value

    return answer


def _kind(value: Mapping[str, object], *_: object) -> str:
    return str(value["__typename"])


def _bindable(kind: str) -> ObjectType:
    roots = {"Query": QueryType, "Mutation": MutationType}
    return roots[kind]() if kind in roots else ObjectType(kind)


def _resolvers() -> list[ObjectType | UnionType]:
    made: list[ObjectType | UnionType] = []
    for kind in sorted(NOT_YET.keys() | EMPTY.keys()):
        bindable = _bindable(kind)
        for field in NOT_YET.get(kind, ()):
            bindable.set_field(field, _refuse)
        for field, value in EMPTY.get(kind, {}).items():
            bindable.set_field(field, _answering(value))
        made.append(bindable)
    file = ObjectType("File")
    file.set_alias("displayName", "name")
    return [*made, file, *(UnionType(name, _kind) for name in UNIONS)]


BINDABLES: Final = _resolvers()
