"""Filters and orders as SQL.

fields      the values that runs are filtered and sorted by
matching    a filter as one SELECT of ids
left_out    runs of which the index holds a part only: read whole, and evaluated
query       filtered, in order, page by page
"""
