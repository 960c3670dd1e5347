"""What a W&B client sends for a run, without the client: GraphQL and file_stream by hand."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from asyncwb.server.history.history import SOURCES
from asyncwb.server.history.seal import Sealer, SealPolicy
from asyncwb.server.objects.objects import OBJECTS
from asyncwb.settings import default_entity
from tests.fix_server import ServerHandle
from tests.server.graphql.asking import ask, data

UPSERT = """
mutation U($input: UpsertBucketInput!) {
  upsertBucket(input: $input) {
    bucket {
      id name displayName description config sweepName historyLineCount
      project { id name entity { id name } }
    }
    inserted
  }
}
"""
RESUME = """
query R($project: String, $entity: String, $name: String!) {
  model(name: $project, entityName: $entity) {
    id
    bucket(name: $name, missingOk: true) {
      id name summaryMetrics displayName logLineCount historyLineCount eventsLineCount
      historyTail eventsTail config tags notes wandbConfig(keys: ["t"])
    }
  }
}
"""
REWIND = """
mutation W($input: RewindRunInput!) { rewindRun(input: $input) { rewoundRun { historyLineCount } } }
"""
HISTORY = """
query H($project: String, $name: String!, $min: Int64, $max: Int64, $samples: Int) {
  project(name: $project) {
    run(name: $name) { history(minStep: $min, maxStep: $max, samples: $samples) }
  }
}
"""


@dataclass
class WandbClient:
    """One run of one project, of the first admin."""

    server: ServerHandle
    run: str = "r1"
    project: str = "p"

    def upsert(self, **input: Any) -> dict[str, Any]:
        """Begin or edit the run; texts that are JSON are given as values."""
        for name in ("config", "summaryMetrics"):
            if name in input:
                input[name] = json.dumps(input[name])
        named = {} if "id" in input else {"name": self.run, "modelName": self.project}
        found: dict[str, Any] = data(self.server, UPSERT, input=named | input)["upsertBucket"]
        return found

    def begin(self) -> str:
        """Begin the run as a client does; returns its id."""
        config = {"_wandb": {"value": {"t": {"1": [1]}}, "desc": None}}
        found: str = self.upsert(config=config, host="box", jobProgram="train.py")["bucket"]["id"]
        return found

    def post(self, **body: Any) -> Any:
        """Send one request of the file stream."""
        address = (
            f"{self.server.url}/files/{default_entity()}/{self.project}/{self.run}/file_stream"
        )
        request = urllib.request.Request(address, json.dumps(body).encode(), self.server.headers)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def log(self, offset: int, rows: Sequence[Mapping[str, Any]], **more: Any) -> Any:
        """Send rows of history as lines from `offset` on."""
        plain = [
            {"_timestamp": 1e9 + row["_step"], "_runtime": row["_step"], **row} for row in rows
        ]
        lines = [json.dumps(row) for row in plain]
        files = {"wandb-history.jsonl": {"offset": offset, "content": lines}}
        return self.post(files=files, **more)

    def resume(self) -> Any:
        """Return what a client that resumes is told; None where there is no such run."""
        answer = data(self.server, RESUME, project=self.project, name=self.run)
        return answer["model"]["bucket"]

    def rewind(self, step: float) -> int:
        """Go back to a step; returns the line to go on at."""
        input = {"runName": self.run, "projectName": self.project, "metricName": "_step"}
        answer = data(self.server, REWIND, input=input | {"metricValue": step})
        count: int = answer["rewindRun"]["rewoundRun"]["historyLineCount"]
        return count

    def history(self, **asked: Any) -> list[dict[str, Any]]:
        """Return rows as a client reads them."""
        found = data(self.server, HISTORY, project=self.project, name=self.run, **asked)
        return [json.loads(line) for line in found["project"]["run"]["history"]]

    def ask(self, fields: str, **variables: Any) -> dict[str, Any]:
        """Return fields of the run."""
        query = (
            f'{{ project(name: "{self.project}") {{ run(name: "{self.run}") {{ {fields} }} }} }}'
        )
        found: dict[str, Any] = data(self.server, query, **variables)["project"]["run"]
        return found

    def do(self, name: str, **input: Any) -> dict[str, Any]:
        """Run a mutation that answers `success`; returns the whole answer."""
        kind = f"{name[0].upper()}{name[1:]}Input!"
        query = f"mutation M($input: {kind}) {{ {name}(input: $input) {{ success }} }}"
        return ask(self.server, query, input=input)


def seal(server: ServerHandle) -> None:
    """Seal every tail there is, now."""

    async def work(app: web.Application) -> None:
        policy = SealPolicy(rows=1, frames=1, turn_rows=40, full=16)
        sealer = Sealer(app[SOURCES].store, app[OBJECTS], policy)
        while await sealer.turn():
            pass

    server.call(work)
