"""Work in the background, and what requests share.

background         endless tasks, started again when they fail
threads            threads for those who read, and others for those who write
admission_queue    some at once, some waiting, the rest come back
claims             holding a claim for as long as the work takes
run_changes        read a run, compute, write where it still is what was read
fold_cache         the folds of runs that are being written to
metrics            counters of this process
activity           whether anybody still uses this server
reserve            room on a full disk to start with
"""
