"""A run that logs: from `init` to its end.

init           starting a run, in both faces
run            the run, async; the source of the sync one
_sync/         the run, sync
state          what the two faces of a run share
config         what the run was started with
summary        the last word on every metric, and what the user writes over it
saving         which files `save()` means
current        the run that `asyncwb.log` and `asyncwb.config` mean
module         the module-level calls
at_exit        runs that nobody finished when the interpreter exits
process_end    with which exit code it does
"""
