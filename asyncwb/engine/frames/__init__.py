"""From committed records to frames that are ready to go.

pipeline     records -> tables, as many at once as there are
source       gives an outbox its frames: from a journal, or from a sealed file
fitting      frames that fit a request
oversized    what fits none, kept as JSON
outbox       one writer's frames: waiting, on their way, acknowledged
progress     how far they have come, for the faces to read
offline      frames -> a sealed file, in place of a server
"""
