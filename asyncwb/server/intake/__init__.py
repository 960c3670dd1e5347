"""What arrives.

request_order          requests of one sender, in the order in which it sent them
ingest                 frames of asyncwb's clients
pace                   for how long they are asked to let rows gather
file_stream            what W&B's clients log
file_stream_request    one such request, checked and taken apart
line_ranges            which of its lines are here already
run_transitions        what a request does to one run, decided on values alone
folds                  the folds of runs: read, brought to a summary that somebody sets
lines                  lines of text: console and system metrics
crash                  runs whose writers died without a word
"""
