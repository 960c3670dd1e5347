"""The sync faces of the query API; generated, see `asyncwb.client`.

api           from `query/api.py`, and so on
paging
runs
run_fields
run
summary
history
files
projects
sweeps
reports
teams
users
"""
