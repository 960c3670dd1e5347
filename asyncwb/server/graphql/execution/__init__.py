"""From the text of a GraphQL request to its answer, within bounds.

execute    parse, check, run
cost       what it would cost, said before it runs
context    what a resolver finds, and how it batches
ids        opaque ids
paging     opaque cursors
pace       long answers in small steps
encode     answers as JSON, piece by piece
"""
