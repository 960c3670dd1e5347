"""Every GraphQL document that the query API sends, in one place.

They keep to fields and arguments that W&B's own clients send, so that a W&B server answers them as
ours does; a test validates each one against our schema. `DOCUMENTS` is all of them by name.
"""

from __future__ import annotations

from typing import Final

from asyncwb.wire import uplink_documents as engine

CREATE_FILES: Final = engine.CREATE_FILES

_USER: Final = """
fragment UserFields on User {
  id
  name
  username
  email
  admin
  flags
  entity
  deletedAt
  apiKeys { edges { node { id name description } } }
  teams { edges { node { name } } }
}
"""

_RUN: Final = """
fragment RunFields on Run {
  id
  projectId
  tags
  name
  displayName
  sweepName @include(if: $sweeps)
  state
  config
  group
  jobType
  commit
  readOnly
  createdAt
  heartbeatAt
  description
  notes
  systemMetrics
  summaryMetrics
  historyLineCount
  user { name username }
}
"""

_PROJECT: Final = """
fragment ProjectFields on Project {
  id
  name
  entityName
  createdAt
  isBenchmark
  user { id name username }
}
"""

_SWEEP: Final = """
fragment SweepFields on Sweep {
  id
  name
  displayName
  method
  state
  description
  bestLoss
  config
  createdAt
  updatedAt
  runCount
  runCountExpected
}
"""

# What the server can do, and who asks.

SERVER_FEATURES: Final = "query ServerFeatures { serverInfo { features { name isEnabled } } }"

DEFAULT_ENTITY: Final = "query DefaultEntity { viewer { id entity } }"

VIEWER: Final = "query Viewer { viewer { ...UserFields } }" + _USER

USERS: Final = (
    """
query SearchUsers($query: String) {
  users(query: $query) { edges { node { ...UserFields } } }
}
"""
    + _USER
)

# Users, keys and teams.

CREATE_USER: Final = """
mutation CreateUser($email: String!, $admin: Boolean) {
  createUser(input: {email: $email, admin: $admin}) { user { id name username email admin } }
}
"""

GENERATE_API_KEY: Final = """
mutation GenerateApiKey($description: String) {
  generateApiKey(input: {description: $description}) { apiKey { id name description } }
}
"""

DELETE_API_KEY: Final = """
mutation DeleteApiKey($id: String!) { deleteApiKey(input: {id: $id}) { success } }
"""

TEAM: Final = """
query Team($name: String!) {
  entity(name: $name) {
    id
    name
    available
    photoUrl
    readOnly
    readOnlyAdmin
    isTeam
    privateOnly
    storageBytes
    codeSavingEnabled
    defaultAccess
    isPaid
    members { id admin pending email username name photoUrl accountType apiKey }
  }
}
"""

CREATE_TEAM: Final = """
mutation CreateTeam($team: String!, $admin: String) {
  createTeam(input: {teamName: $team, teamAdminUserName: $admin}) { entity { id name } }
}
"""

CREATE_INVITE: Final = """
mutation CreateInvite($entity: String!, $email: String, $username: String, $admin: Boolean) {
  createInvite(input: {entityName: $entity, email: $email, username: $username, admin: $admin}) {
    invite { id name email createdAt toUser { name } }
  }
}
"""

DELETE_INVITE: Final = """
mutation DeleteInvite($id: String, $entity: String) {
  deleteInvite(input: {id: $id, entityName: $entity}) { success }
}
"""

CREATE_SERVICE_ACCOUNT: Final = """
mutation CreateServiceAccount($entity: String!, $description: String!) {
  createServiceAccount(input: {description: $description, entityName: $entity}) { user { id } }
}
"""

# Projects and reports.

PROJECTS: Final = (
    """
query Projects($entity: String, $cursor: String, $perPage: Int = 50) {
  models(entityName: $entity, after: $cursor, first: $perPage) {
    edges { node { ...ProjectFields } cursor }
    pageInfo { endCursor hasNextPage }
  }
}
"""
    + _PROJECT
)

PROJECT: Final = (
    """
query Project($name: String!, $entity: String!) {
  project(name: $name, entityName: $entity) { ...ProjectFields }
}
"""
    + _PROJECT
)

CREATE_PROJECT: Final = """
mutation CreateProject($name: String!, $entity: String) {
  upsertModel(input: {name: $name, entityName: $entity}) {
    project { id name entityName }
    inserted
  }
}
"""

REPORTS: Final = """
query Reports(
  $project: String!, $entity: String!, $cursor: String, $perPage: Int!,
  $viewType: String = "runs", $name: String
) {
  project(name: $project, entityName: $entity) {
    allViews(viewType: $viewType, viewName: $name, first: $perPage, after: $cursor) {
      edges {
        node {
          id name displayName description spec createdAt updatedAt
          user { username photoUrl email }
        }
        cursor
      }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""

# Sweeps.

SWEEPS: Final = (
    """
query Sweeps(
  $project: String!, $entity: String!, $cursor: String, $perPage: Int = 50, $filters: JSONString
) {
  project(name: $project, entityName: $entity) {
    totalSweeps
    sweeps(after: $cursor, first: $perPage, filters: $filters) {
      edges { node { ...SweepFields } cursor }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""
    + _SWEEP
)

# W&B's client never sends an order here; whether its servers know one is not known.
SORTED_SWEEPS: Final = SWEEPS.replace(
    "$filters: JSONString", "$filters: JSONString, $order: String"
).replace("filters: $filters)", "filters: $filters, order: $order)")

SWEEP: Final = (
    """
query Sweep($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) { sweep(sweepName: $name) { ...SweepFields } }
}
"""
    + _SWEEP
)

# Runs.

RUNS: Final = (
    """
query Runs(
  $project: String!, $entity: String!, $cursor: String, $perPage: Int = 50,
  $order: String, $filters: JSONString, $sweeps: Boolean = true, $keys: Boolean = false
) {
  project(name: $project, entityName: $entity) {
    internalId
    runCount(filters: $filters)
    readOnly
    runs(filters: $filters, after: $cursor, first: $perPage, order: $order) {
      edges { node { ...RunFields historyKeys @include(if: $keys) } cursor }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""
    + _RUN
)

RUN: Final = (
    """
query Run($project: String!, $entity: String!, $name: String!, $sweeps: Boolean = true) {
  project(name: $project, entityName: $entity) { run(name: $name) { ...RunFields historyKeys } }
}
"""
    + _RUN
)

RUN_STATE: Final = """
query RunState($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) { state } }
}
"""

PARQUET_HISTORY: Final = """
query RunParquetHistory($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) {
    run(name: $name) { state parquetHistory(liveKeys: ["_step"]) { parquetUrls liveData } }
  }
}
"""

CREATE_RUN: Final = """
mutation CreateRun($entity: String, $project: String, $name: String!, $state: String) {
  upsertBucket(input: {entityName: $entity, modelName: $project, name: $name, state: $state}) {
    bucket { id name project { name entity { name } } }
    inserted
  }
}
"""

UPDATE_RUN: Final = """
mutation UpdateRun(
  $id: String!, $displayName: String, $description: String, $notes: String, $tags: [String!],
  $config: JSONString, $group: String, $jobType: String, $summary: JSONString
) {
  upsertBucket(input: {
    id: $id, displayName: $displayName, description: $description, notes: $notes, tags: $tags,
    config: $config, groupName: $group, jobType: $jobType, summaryMetrics: $summary
  }) {
    bucket { id }
  }
}
"""

CHANGE_RUN: Final = """
mutation ChangeRun(
  $id: String!, $displayName: String, $description: String, $notes: String, $group: String,
  $jobType: String, $addTags: [String!], $removeTags: [String!], $config: JSONString,
  $summary: JSONString
) {
  upsertBucket(input: {
    id: $id, displayName: $displayName, description: $description, notes: $notes,
    groupName: $group, jobType: $jobType, addTags: $addTags, removeTags: $removeTags,
    configChanges: $config, summaryChanges: $summary
  }) {
    bucket { id }
  }
}
"""

RUN_DOCUMENTS: Final = """
query RunDocuments($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) {
    run(name: $name) { config summaryMetrics tags }
  }
}
"""

UPDATE_RUN_STATE: Final = """
mutation UpdateRunState($input: UpdateRunStateInput!) {
  updateRunState(input: $input) { success }
}
"""

STOP_RUN: Final = "mutation StopRun($id: ID!) { stopRun(input: {id: $id}) { success } }"

DELETE_RUN: Final = """
mutation DeleteRun($id: ID!, $deleteArtifacts: Boolean) {
  deleteRun(input: {id: $id, deleteArtifacts: $deleteArtifacts}) { clientMutationId }
}
"""

DROP_HISTORY: Final = """
mutation RewindRun($run: String!, $entity: String, $project: String) {
  rewindRun(input: {
    runName: $run, entityName: $entity, projectName: $project, metricName: "_step", metricValue: -1
  }) {
    rewoundRun { id }
  }
}
"""
"""Drops all rows of a run, and nothing else of it."""

# A run's rows, and its lines of text.

HISTORY: Final = """
query History($project: String!, $entity: String!, $name: String!, $samples: Int) {
  project(name: $project, entityName: $entity) {
    run(name: $name) { rows: history(samples: $samples) }
  }
}
"""

EVENTS: Final = """
query Events($project: String!, $entity: String!, $name: String!, $samples: Int) {
  project(name: $project, entityName: $entity) {
    run(name: $name) { rows: events(samples: $samples) }
  }
}
"""

SAMPLED_HISTORY: Final = """
query SampledHistory($project: String!, $entity: String!, $name: String!, $specs: [JSONString!]!) {
  project(name: $project, entityName: $entity) {
    run(name: $name) { rows: sampledHistory(specs: $specs) }
  }
}
"""

HISTORY_PAGE: Final = """
query HistoryPage(
  $project: String!, $entity: String!, $name: String!,
  $minStep: Int64!, $maxStep: Int64!, $samples: Int!
) {
  project(name: $project, entityName: $entity) {
    run(name: $name) { rows: history(minStep: $minStep, maxStep: $maxStep, samples: $samples) }
  }
}
"""

HISTORY_KEYS: Final = """
query HistoryKeys($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) { historyKeys } }
}
"""

LOG_LINES: Final = """
query LogLines($project: String!, $entity: String!, $name: String!, $first: Int, $after: String) {
  project(name: $project, entityName: $entity) {
    run(name: $name) {
      logLineCount
      logLines(first: $first, after: $after, useImprovedPagination: true) {
        edges { node { number timestamp level label line } }
        pageInfo { endCursor hasNextPage }
      }
    }
  }
}
"""

LAST_LOG_LINES: Final = """
query LastLogLines($project: String!, $entity: String!, $name: String!, $last: Int!) {
  project(name: $project, entityName: $entity) {
    run(name: $name) {
      logLineCount
      logLines(last: $last) { edges { node { number timestamp level label line } } }
    }
  }
}
"""

# A run's files.

FILES: Final = """
query Files(
  $project: String!, $entity: String!, $name: String!, $cursor: String, $perPage: Int = 50,
  $names: [String] = [], $pattern: String
) {
  project(name: $project, entityName: $entity) {
    internalId
    run(name: $name) {
      fileCount
      files(names: $names, after: $cursor, first: $perPage, pattern: $pattern) {
        edges {
          node { id name url(upload: false) directUrl sizeBytes mimetype updatedAt md5 }
          cursor
        }
        pageInfo { endCursor hasNextPage }
      }
    }
  }
}
"""

FILES_UPLOADED: Final = """
mutation MarkRunFilesUploaded(
  $entity: String!, $project: String!, $name: String!, $files: [String!]!
) {
  markRunFilesUploaded(
    input: {entityName: $entity, projectName: $project, runName: $name, files: $files}
  ) {
    success
  }
}
"""

DELETE_FILES: Final = """
mutation DeleteFiles($files: [ID!]!, $projectId: Int) {
  deleteFiles(input: {files: $files, projectId: $projectId}) { success }
}
"""

DOCUMENTS: Final = {
    name: value
    for name, value in tuple(globals().items())
    if name.isupper() and not name.startswith("_")
}
"""Every document by the name of its constant."""
