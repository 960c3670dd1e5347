"""What the resolvers of mutations are given: each input type of the SDL under its name there.

A key that the SDL does not ask for may be missing, or null. JSON texts and numbers of any kind
(`JSONString`, `Duration`) and what is refused unless it is empty are `object`: whoever reads one
looks what it is. A test holds these to the SDL.
"""

# Without `from __future__ import annotations`, for which Python 3.11 takes every key as required
# (`__required_keys__`): the test could not tell.

from typing import NotRequired, TypedDict


class MutationInput(TypedDict):
    """What every input may carry."""

    client_mutation_id: NotRequired[str | None]


class RunInput(MutationInput):
    """An input that names a run."""

    entity_name: NotRequired[str | None]
    project_name: NotRequired[str | None]
    run_name: str


class CreateRunFilesInput(RunInput):
    files: list[str]


class MarkRunFilesUploadedInput(RunInput):
    files: list[str]


class DeleteFilesInput(MutationInput):
    files: list[str]
    project_id: NotRequired[int | None]


class UpsertModelInput(MutationInput, total=False):
    id: str | None
    name: str | None
    entity_name: str | None
    description: str | None
    access: str | None
    allow_all_artifact_types_in_registry: bool | None
    artifact_types: list[object] | None
    docker_image: str | None
    framework: str | None
    icon: object
    is_benchmark: bool | None
    is_published: bool | None
    owner: str | None
    rate_limits: object
    repo: str | None
    views: object


class DeleteModelInput(MutationInput):
    id: str


class RenameProjectInput(MutationInput):
    entity_name: str
    old_project_name: str
    new_project_name: str


class UpsertViewInput(MutationInput, total=False):
    id: str | None
    entity_name: str | None
    project_name: str | None
    type: str | None
    name: str | None
    display_name: str | None
    description: str | None
    spec: str | None
    created_using: str | None


class DeleteViewInput(MutationInput):
    id: str
    delete_drafts: NotRequired[bool | None]


class UpsertBucketInput(MutationInput, total=False):
    id: str | None
    name: str | None
    model_name: str | None
    entity_name: str | None
    group_name: str | None
    description: str | None
    display_name: str | None
    notes: str | None
    commit: str | None
    config: object
    host: str | None
    debug: bool | None
    job_program: str | None
    job_repo: str | None
    job_type: str | None
    state: str | None
    sweep: str | None
    tags: list[str] | None
    summary_metrics: object
    config_changes: object
    summary_changes: object
    add_tags: list[str] | None
    remove_tags: list[str] | None


class RewindRunInput(RunInput):
    metric_name: str
    metric_value: float


class StopRunInput(MutationInput):
    id: str


class UpdateRunStateInput(MutationInput):
    id: str
    state: str


class DeleteRunInput(MutationInput):
    id: str
    delete_artifacts: NotRequired[bool | None]


class NotifyScriptableRunAlertInput(RunInput):
    title: str
    text: str
    severity: NotRequired[str | None]
    wait_duration: NotRequired[object]


class UpsertSweepInput(MutationInput, total=False):
    id: str | None
    config: str | None
    description: str | None
    display_name: str | None
    entity_name: str | None
    project_name: str | None
    controller: object
    scheduler: object
    launch_scheduler: object
    template_variable_values: object
    prior_runs_filters: object
    state: str | None


class CreateTeamInput(MutationInput):
    team_name: str
    team_admin_user_name: NotRequired[str | None]


class CreateInviteInput(MutationInput):
    entity_name: str
    email: NotRequired[str | None]
    username: NotRequired[str | None]
    admin: NotRequired[bool | None]
    role: NotRequired[str | None]


class DeleteInviteInput(MutationInput, total=False):
    id: str | None
    entity_name: str | None


class CreateServiceAccountInput(MutationInput):
    entity_name: str
    description: str


class CreateUserInput(MutationInput):
    email: str
    admin: NotRequired[bool | None]
    username: NotRequired[str | None]


class GenerateApiKeyInput(MutationInput, total=False):
    description: str | None


class DeleteApiKeyInput(MutationInput):
    id: str


def back(input: MutationInput) -> dict[str, object]:
    """Return the part of an answer that repeats what the client said."""
    return {"client_mutation_id": input.get("client_mutation_id")}
