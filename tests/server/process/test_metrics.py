"""The names and labels of the counters are what dashboards go by, and each server has its own."""

from __future__ import annotations

import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from asyncwb.server.process.metrics import Metrics

KINDS = {
    "asyncwb_requests_total": ("counter", ("status",)),
    "asyncwb_ingest_rows_total": ("counter", ()),
    "asyncwb_ingest_frames_total": ("counter", ()),
    "asyncwb_ingest_bytes_total": ("counter", ()),
    "asyncwb_ingest_stream_errors_total": ("counter", ("code",)),
    "asyncwb_ingest_seconds_total": ("counter", ()),
    "asyncwb_runs_crashed_total": ("counter", ()),
    "asyncwb_task_failures_total": ("counter", ("task",)),
    "asyncwb_task_failing": ("gauge", ("task",)),
    "asyncwb_live_connections": ("gauge", ()),
    "asyncwb_runs_running": ("gauge", ()),
}


def _samples(metrics: Metrics) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {
        sample.name: (family.type, tuple(sample.labels))
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_names_and_labels_stay() -> None:
    metrics = Metrics()
    for name, (_, labels) in KINDS.items():
        metrics.add(name, 1, **dict.fromkeys(labels, "x"))
    assert _samples(metrics) == KINDS


def test_what_was_not_counted_yet_is_zero() -> None:
    assert _samples(Metrics()) == {name: kind for name, kind in KINDS.items() if not kind[1]}
    assert Metrics().get("asyncwb_requests_total", status="2xx") == 0


def test_servers_of_one_process_count_for_themselves() -> None:
    first, second = Metrics(), Metrics()
    first.add("asyncwb_ingest_rows_total", 3)
    first.set("asyncwb_task_failing", 1, task='a "name"\n')
    assert first.get("asyncwb_ingest_rows_total") == 3
    assert first.get("asyncwb_task_failing", task='a "name"\n') == 1
    assert b"asyncwb_task_failing" not in second.text()
    assert second.get("asyncwb_ingest_rows_total") == 0


def test_a_gauge_goes_down_and_a_counter_does_not() -> None:
    metrics = Metrics()
    metrics.add("asyncwb_live_connections")
    metrics.add("asyncwb_live_connections", -1)
    assert metrics.get("asyncwb_live_connections") == 0
    with pytest.raises(ValueError, match="non-negative"):
        metrics.add("asyncwb_ingest_rows_total", -1)


def test_a_name_or_label_that_there_is_not_is_a_fault() -> None:
    metrics = Metrics()
    with pytest.raises(KeyError):
        metrics.add("asyncwb_rows")
    with pytest.raises(ValueError, match="label"):
        metrics.add("asyncwb_requests_total", code="2xx")


def test_threads_lose_no_count() -> None:
    metrics = Metrics()

    def count() -> None:
        for _ in range(5_000):
            metrics.add("asyncwb_ingest_rows_total")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.get("asyncwb_ingest_rows_total") == 20_000
