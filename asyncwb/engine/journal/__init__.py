"""The journal: what `log()` accepted is here before it returns.

checks         what `log()` refuses, and why a row is dropped
inbox          the caller's side of `log()`: check, stamp, step, pack; never waits
writer_lock    who writes, at the cost of 20 ns
holders        who is in the middle of it, when somebody else comes
records        how a row or an event lies in a segment
segment        one file: preallocated, memory-mapped
journal        the segments of one writer, in order; trimmed once acknowledged
durable        what makes the disk, not only its cache, hold a file
folder         the folder of one writer: whose it is, and who is at work on it
kept_events    what the run has said of itself, for a server that lost it
sealed         the file of an offline run: frames one after the other
"""
