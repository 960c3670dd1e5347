"""The statements of projects and of what is in them.

projects        projects
former_names    names that lead to a renamed project
ingest          what one ingest request changes, in one transaction
segments        frames, sealed segments, rollups
lines           lines of text
files           which object holds the bytes of a run's file
edits           one run locked, changed, its version moved on
runs            runs as readers see them
details         what a list of runs needs beyond its rows
alerts          alerts that runs raised
reports         reports and saved views
sweeps          sweeps
"""
