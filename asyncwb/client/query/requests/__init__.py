"""What the query API asks of a server.

query             one question, one answer: GraphQL, or the native way to rows
pages             one function for each kind of list
report_filters    what a report shows, as filters that a server takes
"""
