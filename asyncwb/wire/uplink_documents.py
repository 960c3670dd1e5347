"""Every GraphQL document that the engine sends; a test validates them against our own schema."""

from __future__ import annotations

from typing import Final

RUN_STATUS: Final = """
query RunResumeStatus($project: String, $entity: String, $name: String!) {
  model(name: $project, entityName: $entity) {
    id
    name
    entity { id name }
    bucket(name: $name, missingOk: true) {
      id
      name
      displayName
      summaryMetrics
      historyLineCount
      historyTail
      config
      tags
      notes
      group
      jobType
      wandbConfig(keys: ["t"])
    }
  }
}
"""
"""Whether a run exists, and how far it is."""

UPSERT_RUN: Final = """
mutation UpsertBucket(
  $name: String, $project: String, $entity: String, $displayName: String, $notes: String,
  $tags: [String!], $groupName: String, $jobType: String, $config: JSONString, $host: String,
  $program: String
) {
  upsertBucket(input: {
    name: $name, modelName: $project, entityName: $entity, displayName: $displayName,
    notes: $notes, tags: $tags, groupName: $groupName, jobType: $jobType, config: $config,
    host: $host, jobProgram: $program
  }) {
    bucket {
      id
      name
      displayName
      historyLineCount
      project { id name entity { id name } }
    }
    inserted
  }
}
"""
"""Creates a run or changes it; a variable that is null leaves what is there."""

CREATE_FILES: Final = """
mutation CreateRunFiles($entity: String!, $project: String!, $name: String!, $files: [String!]!) {
  createRunFiles(
    input: {entityName: $entity, projectName: $project, runName: $name, files: $files}
  ) {
    runID
    uploadHeaders
    files { name uploadUrl }
  }
}
"""
"""Announces files of a run, and returns for each where to put it."""

DOCUMENTS: Final = {
    "RunResumeStatus": RUN_STATUS,
    "UpsertBucket": UPSERT_RUN,
    "CreateRunFiles": CREATE_FILES,
}
