"""Metric definitions: which x axis a metric has, and what its summary shows.

The client checks a `define_metric` call with `metric_event`; the event travels in the stream, and
both ends feed it to their `MetricRules`. The rules are those of W&B
(https://docs.wandb.ai/ref/python/sdk/classes/run, method `define_metric`): a name may end in `*`
and then covers every key with that prefix; a definition by full name beats every glob, and of
several globs the longest, the most specific, wins. Repeated definitions of one name add up,
unless `overwrite` is set.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from asyncwb.errors import ArgumentError
from asyncwb.typing import JsonObject
from asyncwb.wire.rows import keys
from asyncwb.wire.rows.keys import SYSTEM

OPS: Final = ("min", "max", "mean", "last", "first", "best", "copy", "none")
"""What `summary=` may ask for."""
GOALS: Final = ("minimize", "maximize")

_SHOWN: Final = frozenset(("min", "max", "mean", "last", "first", "best"))


class MetricRule(NamedTuple):
    """What is defined about a metric.

    `ops` are what its summary shows, in the order of OPS; `goal` decides what "best" is, which is
    the minimum where none is given.
    """

    name: str
    step_metric: str | None = None
    step_sync: bool = False
    hidden: bool = False
    ops: tuple[str, ...] = ()
    goal: str | None = None

    @property
    def shown(self) -> tuple[str, ...]:
        """The ops whose values the summary holds; none: the plain last value, or nothing at all."""
        return () if "none" in self.ops else tuple(op for op in self.ops if op in _SHOWN)

    @property
    def tracked(self) -> tuple[str, ...]:
        """The statistics that the ops need: of min, max, mean, first. Best is a min or a max."""
        best = "max" if self.goal == "maximize" else "min"
        ops = {best if op == "best" else op for op in self.ops}
        return tuple(op for op in ("min", "max", "mean", "first") if op in ops)

    @property
    def absent(self) -> bool:
        """Whether the summary leaves the metric out."""
        return "none" in self.ops

    def event(self) -> JsonObject:
        """Return the event that defines exactly this rule."""
        return {
            "t": "metric",
            "name": self.name,
            "step_metric": self.step_metric,
            "step_sync": self.step_sync,
            "hidden": self.hidden,
            "summary": list(self.ops),
            "goal": self.goal,
            "overwrite": True,
        }


def metric_event(
    name: str,
    *,
    step_metric: str | None = None,
    step_sync: bool | None = None,
    hidden: bool | None = None,
    summary: str | Sequence[str] | None = None,
    goal: str | None = None,
    overwrite: bool | None = None,
) -> JsonObject:
    """Check the arguments of `define_metric` and return the event for them.

    `name` and `step_metric` are paths (a "." inside one key is written `\\.`); `summary` is a
    comma-separated list of OPS, or a sequence of them; `goal` is one of GOALS.

    Raises UsageError that names the argument at fault.

    >>> metric_event("val/*", step_metric="epoch", summary="min, last")["summary"]
    ['min', 'last']
    """
    _check_name(name)
    if step_metric is not None and (type(step_metric) is not str or not step_metric):
        raise _bad("step_metric", step_metric, "the name of a metric")
    if isinstance(step_metric, str) and step_metric.endswith("*"):
        raise _bad("step_metric", step_metric, "one metric, not a glob")
    for argument, flag in (("step_sync", step_sync), ("hidden", hidden), ("overwrite", overwrite)):
        if flag is not None and not isinstance(flag, bool):
            raise _bad(argument, flag, "True or False")
    if goal is not None and goal not in GOALS:
        raise _bad("goal", goal, f"one of {', '.join(GOALS)}")
    return {
        "t": "metric",
        "name": name,
        "step_metric": step_metric,
        "step_sync": step_sync,
        "hidden": hidden,
        "summary": None if summary is None else list(_check_ops(summary)),
        "goal": goal,
        "overwrite": bool(overwrite),
    }


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name:
        raise _bad("name", name, "a non-empty string")
    if "*" in name[:-1]:
        raise _bad("name", name, 'a metric name, or a prefix with "*" as its last character')


def _check_ops(summary: object) -> tuple[str, ...]:
    if isinstance(summary, str):
        names: list[object] = [op.strip().lower() for op in summary.split(",") if op.strip()]
    elif isinstance(summary, (list, tuple)):
        names = list(summary)
    else:
        raise _bad("summary", summary, f"a comma-separated list of {', '.join(OPS)}")
    for op in names:
        if op not in OPS:
            raise _bad("summary", op, f"made of {', '.join(OPS)}")
    return tuple(op for op in OPS if op in names)


def _bad(argument: str, value: object, wanted: str) -> ArgumentError:
    return ArgumentError(
        f"define_metric: {argument} must be {wanted}, not {reprlib.repr(value)}; "
        "nothing was defined, logged rows are not affected"
    )


class MetricRules:
    """The metric definitions of a run, and which of them holds for a key.

    Looking a key up costs one dict access after the first time. Not thread-safe.
    """

    # _explicit, _globs: name -> rule. _resolved, _needs: caches by path, emptied by define().
    # syncs: whether any rule inserts step metrics; a caller may skip missing_steps() while False.
    __slots__ = ("_explicit", "_globs", "_needs", "_resolved", "syncs")

    def __init__(self, events: Iterable[Mapping[str, object]] = ()) -> None:
        self._explicit: dict[str, MetricRule] = {}
        self._globs: dict[str, MetricRule] = {}
        self._resolved: dict[str, MetricRule | None] = {}
        self._needs: dict[str, str | None] = {}
        self.syncs = False
        for event in events:
            self.define(event)

    def __bool__(self) -> bool:
        """Whether any metric is defined."""
        return bool(self._explicit or self._globs)

    def define(self, event: Mapping[str, Any]) -> MetricRule:
        """Take in a `metric` event and return the rule that now holds for its name.

        Without `overwrite` it adds to an earlier definition of the same name: flags stay true
        once true, ops accumulate, `step_metric` and `goal` change where they are given.
        `step_sync` is true by default where a `step_metric` is given.

        Raises UsageError where the event says what no definition can say.
        """
        arguments = {k: event[k] for k in _ARGUMENTS if event.get(k) is not None}
        checked = metric_event(event.get("name", ""), **arguments)
        rule = _rule(checked)
        table = self._globs if rule.name.endswith("*") else self._explicit
        earlier = table.get(rule.name)
        if earlier is not None and not checked["overwrite"]:
            rule = _added(earlier, rule)
        table[rule.name] = rule
        self._resolved.clear()
        self._needs.clear()
        self.syncs = any(r.step_sync and r.step_metric for r in self._all())
        return rule

    def resolve(self, path: str) -> MetricRule | None:
        """Return the rule for a key: its own, else the longest glob that covers it, else None."""
        try:
            return self._resolved[path]
        except KeyError:
            found = self._explicit.get(path) or self._glob(path)
            return self._resolved.setdefault(path, found)

    def missing_steps(self, present: Iterable[str]) -> list[str]:
        """Return the step metrics that a row with these keys lacks and should be given.

        The caller inserts each with its last value, 0 where it was never logged. `_step` and its
        like are in every row and never missing.
        """
        if not self.syncs:
            return []
        names = dict.fromkeys(present)
        wanted = dict.fromkeys(step for path in names if (step := self._step_of(path)))
        return [step for step in wanted if step not in names]

    def events(self) -> list[JsonObject]:
        """Return events that define the same rules from scratch."""
        return [rule.event() for rule in self._all()]

    def _all(self) -> list[MetricRule]:
        return [*self._explicit.values(), *self._globs.values()]

    def _glob(self, path: str) -> MetricRule | None:
        found = [rule for name, rule in self._globs.items() if keys.matches(name, path)]
        return max(found, key=lambda rule: len(rule.name), default=None)

    def _step_of(self, path: str) -> str | None:
        try:
            return self._needs[path]
        except KeyError:
            rule = self.resolve(path)
            step = rule.step_metric if rule is not None and rule.step_sync else None
            return self._needs.setdefault(path, None if step in SYSTEM else step)


_ARGUMENTS: Final = ("step_metric", "step_sync", "hidden", "summary", "goal", "overwrite")


def _rule(event: Mapping[str, Any]) -> MetricRule:
    step_metric, sync = event["step_metric"], event["step_sync"]
    return MetricRule(
        name=event["name"],
        step_metric=step_metric,
        step_sync=step_metric is not None if sync is None else sync,
        hidden=bool(event["hidden"]),
        ops=tuple(event["summary"] or ()),
        goal=event["goal"],
    )


def _added(earlier: MetricRule, later: MetricRule) -> MetricRule:
    return MetricRule(
        name=later.name,
        step_metric=later.step_metric or earlier.step_metric,
        step_sync=earlier.step_sync or later.step_sync,
        hidden=earlier.hidden or later.hidden,
        ops=tuple(op for op in OPS if op in earlier.ops or op in later.ops),
        goal=later.goal or earlier.goal,
    )
