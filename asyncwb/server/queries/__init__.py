"""The language of queries over runs. Pure.

document             what a run looks like to a filter
conditions           what filters and orders mean: a typed tree, and its evaluation on one run
filters              MongoDB's filters, and orders, parsed to that tree
postgres_patterns    their patterns as PostgreSQL has them
"""
