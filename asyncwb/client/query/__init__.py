"""What a server knows: runs, projects, files, sweeps, people; to read and to edit.

api           the way in
paging        lists that a server gives page by page
runs          the runs of a project: filtered, sorted
run_fields    the fields of a run, and what was changed since they were read
run           a run as the server knows it
edits         what was changed is sent, and nothing else
assigned      a dict that knows which of its keys were assigned
summary       its summary, as a dict whose changes can be sent
history       its rows
rows/         rows as dicts, DataFrames, Parquet files
console       lines that its program printed
files         its files
projects      projects
sweeps        sweeps
reports       reports
teams         teams and their members
users         people with an account
attributes    what all of these have in common
requests/     what is asked of the server for them
_sync/        their sync twins
"""
