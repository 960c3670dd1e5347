"""Projects, runs and sweeps.

projects         made, changed, deleted
runs             lists, pages, one run's full account
short            what lists have of long values
streams          one run live, as server-sent events
edits            what an edit does to a run, decided on values alone
edit_requests    edits carried out: who asks, what is decided, what is written
index            what queries read, kept up to date
sweeps           made and changed
sweep_config     what the YAML of a sweep says
"""
