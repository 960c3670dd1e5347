"""Summaries: what is kept of each metric, computed alike by both ends.

metrics     definitions: which x axis a metric has, what its summary shows
closing     when the rows of a step become one, and count
reducers    how a batch of values changes what is kept of one metric
stored      what is kept of all metrics, as it is stored
fold        the summary of a run, folded over its rows and events
"""
